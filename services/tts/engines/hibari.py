"""hibari: a small neural English voice, far faster than real time on one core (Apache-2.0)."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError
from services.tts import text as texts
from services.tts.domain import MIN_RATE, Segment, Voice
from services.tts.engines.hibari_text import prepare
from services.tts.engines.sentence_engine import LONGEST_PIECE, SentenceEngine
from services.tts.settings import TtsSettings

_SCRIPTS = frozenset({"LATIN"})
_SEED = 0
"""Of the noise in the voice: the same text always gives the same samples."""
_WARM_UP = "On March 3rd, Zyxwy paid $42."
"""Touches the model, the number rules and the net for unknown words."""


class HibariEngine(SentenceEngine):
    """The bundled voice, and those others that the cache of hibari holds already; nothing is ever downloaded."""

    name = "hibari"
    speeds = (MIN_RATE, 1.0)
    """Beyond, the model's speed moves in steps (1.3 gives 1.13, 1.4 gives 1.5) and skips sounds: transcripts of it are
    wrong from 1.5 on. Time scaling is exact and word-perfect up to 2."""

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__(settings)
        self._models: dict[str, Any] = {}

    async def aclose(self) -> None:
        """End the thread, and with it the models."""
        await super().aclose()
        self._models.clear()

    def _load(self) -> tuple[tuple[Voice, ...], str]:
        """Build and warm up every voice that is there."""
        try:
            hibari = importlib.import_module("hibari")
            registry = importlib.import_module("hibari.voices")
        except ImportError:
            raise StartupError("hibari is not installed; pip install 'parley-voice[tts-hibari]'") from None
        voices = []
        for name, path in _installed(registry):
            try:
                self._models[name] = hibari.Hibari(name, path, threads=self._settings.tts_threads)
                self._models[name](_WARM_UP, seed=_SEED)
            except Exception as error:  # whatever a damaged file makes the runtime raise
                raise StartupError(f"hibari's voice {name!r} does not load: {error}") from error
            native = AudioFormat(Encoding.PCM_S16LE, self._models[name].sample_rate)
            voices.append(Voice(name, self.name, (registry.VOICES[name]["language"],), native, _SCRIPTS))
        return tuple(voices), str(registry.DEFAULT)

    def _pieces(self, segment: Segment) -> list[str]:
        """By the model's own rules for sentences."""
        sentences = self._models[segment.voice.name].split_sentences(prepare(segment.text))
        pieces = (piece for sentence in sentences for piece in texts.cut(sentence, LONGEST_PIECE))
        return [piece for piece in pieces if texts.has_speech(piece)]

    def _speak(self, piece: str, voice: Voice, speed: float) -> Samples:
        return np.asarray(self._models[voice.name](piece, speed=speed, seed=_SEED), np.float32)


def _installed(registry: Any) -> Iterator[tuple[str, str]]:
    """Names and model files of the voices on this machine, the default one first."""
    for name in sorted(registry.VOICES, key=lambda name: name != registry.DEFAULT):
        try:
            path = registry.voice_path(name, download_missing=False)
        except FileNotFoundError:
            continue
        if Path(path).is_file():
            yield name, path
