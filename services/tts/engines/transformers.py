"""VITS models by `transformers`: MMS in a thousand languages, and others of that architecture.

One model for all speakers and conversations.
"""

import contextlib
import logging
import unicodedata
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.device import choose_device
from services.common.errors import InvalidArgumentError, StartupError, first_line
from services.tts import numbers
from services.tts.domain import Segment, Voice
from services.tts.engines.iso_639 import bcp47
from services.tts.engines.sentence_engine import SentenceEngine
from services.tts.settings import TtsSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizer, VitsModel

log = logging.getLogger(__name__)

_SEED = 0
"""Of the noise in the voice: the same text always gives the same samples."""


class TransformersEngine(SentenceEngine):
    """Args:
    settings: which model, on what device; its language where the model does not tell.
    """

    name = "transformers"

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__(settings)
        self._speaker: Speaker | None = None

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """One block a piece; refuses a text without a sound that the model knows."""
        spoken = 0
        async with contextlib.aclosing(super().synthesize(segment)) as blocks:
            async for samples in blocks:
                spoken += len(samples)
                yield samples
        if not spoken:
            raise InvalidArgumentError(f"voice {segment.voice.name!r} has no sounds for this text", field="text")

    async def aclose(self) -> None:
        """End the thread, and with it the model."""
        await super().aclose()
        self._speaker = None

    def _load(self) -> tuple[tuple[Voice, ...], str]:
        """Load the model and speak a letter with it."""
        try:
            self._speaker = _load(self._settings)
        except ImportError as error:
            message = f"--tts {self.name} needs the extra tts-transformers: {first_line(error)}"
            raise StartupError(message) from None
        voices = self._speaker.voices(self.name)
        return tuple(voices), voices[0].name

    def _speak(self, piece: str, voice: Voice, speed: float) -> Samples:
        if self._speaker is None:
            raise RuntimeError("the engine is not loaded")
        return self._speaker.speak(piece, self.voices.index(voice), speed)


class Speaker:
    """The loaded model; touched by its thread alone.

    Args:
        name: of its voice; with several speakers, the first part of their names.
        language_code: BCP-47.
    """

    def __init__(self, model: "VitsModel", tokenizer: "PreTrainedTokenizer", name: str, language_code: str) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._name, self._language_code = name, language_code
        self._lacks_digits = "1" not in tokenizer.get_vocab()

    def voices(self, engine: str) -> list[Voice]:
        """A voice for each speaker that the model knows."""
        config: Any = self._model.config
        count = config.num_speakers if config.num_speakers > 1 else 1
        names = [self._name] if count == 1 else [f"{self._name}-{number}" for number in range(count)]
        native = AudioFormat(Encoding.PCM_S16LE, config.sampling_rate)
        tokenizer: Any = self._tokenizer
        converts = tokenizer.is_uroman or tokenizer.phonemize
        known = None if converts else scripts_of(tokenizer.get_vocab())
        return [Voice(name, engine, (self._language_code,), native, known) for name in names]

    def speak(self, text: str, number: int, rate: float) -> Samples:
        """One piece, by a speaker's number; empty where it has no sounds for the text."""
        import torch

        if self._lacks_digits:
            text = numbers.spell(text, self._language_code)
            if any(character.isdigit() for character in text):
                log.warning("numbers are left out: there are no words for them", extra={"voice": self._name})
        tokens = self._tokenizer(text, return_tensors="pt").to(self._model.device)
        if not tokens["input_ids"].numel():
            return np.zeros(0, np.float32)
        config: Any = self._model.config
        torch.manual_seed(_SEED)
        with torch.inference_mode():
            spoken = self._model(
                **tokens,
                speaker_id=number if config.num_speakers > 1 else None,
                speaking_rate=config.speaking_rate * rate,
            )
        samples: Samples = spoken.waveform[0].float().cpu().numpy()
        return samples


def scripts_of(vocabulary: Iterable[str]) -> frozenset[str] | None:
    """The scripts of the letters that a model knows, as `Voice.scripts` names them."""
    letters = (character for token in vocabulary if len(token) == 1 for character in token if character.isalpha())
    return frozenset(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters) or None


def _load(settings: TtsSettings) -> Speaker:
    """On the thread."""
    import torch
    import transformers
    from transformers.utils.import_utils import is_uroman_available

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    torch.set_num_threads(settings.tts_threads)
    reference = settings.model_reference
    folder = Path(reference).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (folder.is_absolute() or reference.startswith((".", "~"))):
        raise StartupError(f"--tts_model_name: there is no folder {reference}")
    device = choose_device(settings.tts_device, cuda=torch.cuda.is_available())
    source = str(folder) if is_folder else reference
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, local_files_only=is_folder)
        model: Any = transformers.VitsModel.from_pretrained(source, local_files_only=is_folder)
        if tokenizer.is_uroman and not is_uroman_available():
            raise StartupError(f"{reference} reads its language in Roman letters; pip install uroman")
        spoken = settings.tts_language or bcp47(tokenizer.language or "") or ("en-US" if tokenizer.phonemize else "")
        if not spoken:
            raise StartupError(f"{reference} does not tell its language: set --tts_language")
        speaker = Speaker(
            model, tokenizer, folder.resolve().name if is_folder else reference.rpartition("/")[2], spoken
        )
        letter = next((token for token in tokenizer.get_vocab() if len(token) == 1 and token.isalpha()), "a")
        speaker.speak(letter, 0, 1.0)
    except (StartupError, ImportError):
        raise
    except Exception as error:  # hub, file format, device: whatever it is, the operator wants one line
        raise StartupError(f"cannot load the speech model {reference} on {device}: {first_line(error)}") from error
    return speaker
