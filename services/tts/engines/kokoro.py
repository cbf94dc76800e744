"""Kokoro-82M by onnxruntime: many neural voices (Apache-2.0), with hibari's phonemes for the English ones."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError, first_line
from services.tts import weights
from services.tts.domain import Segment, Voice
from services.tts.engines.hibari_text import prepare
from services.tts.engines.sentence_engine import SentenceEngine
from services.tts.settings import TtsSettings

_RATE_HZ = 24_000
_LANGUAGES = {"a": "en-US", "b": "en-GB"}
"""By the first letter of a voice's name; what the others speak has no phonemes here."""
_BEST = "af_heart"
_STYLES, _STYLE_LENGTH = 510, 256
"""A voice is a style for each number of phonemes, the longest of which is also the most that the model takes."""
_WARM_UP = "On March 3rd, Zyxwy paid $42."
"""Touches the number rules and the net for unknown words."""


@dataclass(frozen=True)
class _Speaker:
    styles: npt.NDArray[np.float32]
    phonemes: Any
    """hibari's, of the voice's English: text to a string of phonemes."""


class KokoroEngine(SentenceEngine):
    """Args:
    settings: where the model and its voices are.
    """

    name = "kokoro"
    speeds = (0.5, 1.3)

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__(settings)
        self._session: Any = None
        self._inputs: tuple[str, ...] = ()
        self._vocabulary: dict[str, int] = {}
        self._speakers: dict[str, _Speaker] = {}

    async def aclose(self) -> None:
        """End the thread, and with it the model."""
        await super().aclose()
        self._session = None
        self._speakers.clear()

    def _load(self) -> tuple[tuple[Voice, ...], str]:
        try:
            runtime = importlib.import_module("onnxruntime")
            hibari = importlib.import_module("hibari.g2p")
        except ImportError as error:
            raise StartupError(f"--tts {self.name} needs the extra tts-kokoro: {first_line(error)}") from None
        files = weights.locate_kokoro(self._settings.model_reference, self._settings.cache_dir)
        try:
            options = runtime.SessionOptions()
            options.intra_op_num_threads = self._settings.tts_threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session = runtime.InferenceSession(str(files.model), options, providers=["CPUExecutionProvider"])
            # Exports name the phonemes "tokens" or "input_ids"; the other inputs have the same names in all.
            phonemes = next(item.name for item in self._session.get_inputs() if "int64" in item.type)
            self._inputs = (phonemes, "style", "speed")
            self._vocabulary = json.loads((Path(hibari.ASSETS) / "vocab.json").read_text("utf-8"))
            by_accent = {code: hibari.G2P(british=code == "en-GB") for code in _LANGUAGES.values()}
            for name, path in _voices(files.voices):
                styles = np.fromfile(path, "<f4").reshape(_STYLES, _STYLE_LENGTH)
                self._speakers[name] = _Speaker(styles, by_accent[_LANGUAGES[name[0]]])
        except Exception as error:  # whatever a damaged file makes the runtime raise
            raise StartupError(f"the voices of --tts {self.name} do not load: {first_line(error)}") from error
        if not self._speakers:
            raise StartupError(f"--tts {self.name}: there are no English voices (a….bin, b….bin) beside the model")
        native = AudioFormat(Encoding.PCM_S16LE, _RATE_HZ)
        scripts = frozenset({"LATIN"})
        voices = tuple(Voice(name, self.name, (_LANGUAGES[name[0]],), native, scripts) for name in self._speakers)
        self._speak(_WARM_UP, voices[0], 1.0)
        return voices, voices[0].name

    def _pieces(self, segment: Segment) -> list[str]:
        """What hibari's reading rules can take."""
        return [prepare(piece) for piece in super()._pieces(segment)]

    def _speak(self, piece: str, voice: Voice, speed: float) -> Samples:
        speaker = self._speakers[voice.name]
        ids = [self._vocabulary[phoneme] for phoneme in speaker.phonemes(piece) if phoneme in self._vocabulary]
        parts = [ids[at : at + _STYLES - 1] for at in range(0, len(ids), _STYLES - 1)]
        spoken = [self._run(part, speaker.styles[len(part)], speed) for part in parts]
        return np.concatenate(spoken) if spoken else np.zeros(0, np.float32)

    def _run(self, ids: list[int], style: npt.NDArray[np.float32], speed: float) -> Samples:
        values = (np.array([[0, *ids, 0]]), style[None], np.array([speed], np.float32))
        samples: Samples = self._session.run(None, dict(zip(self._inputs, values, strict=True)))[0]
        return samples.ravel()


def _voices(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the voices that can be spoken with, the best one first."""
    for path in sorted(folder.glob("*.bin"), key=lambda path: (path.stem != _BEST, path.stem)):
        if path.stem[0] in _LANGUAGES:
            yield path.stem, path
