"""hibari: a small neural English voice, far faster than real time on one core (Apache-2.0)."""

import importlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError
from services.common.model_thread import ModelThread
from services.tts import text as texts
from services.tts.domain import Segment, Voice
from services.tts.engines.base import FIRST, LATER, Engine
from services.tts.engines.hibari_text import prepare
from services.tts.timescale import time_scale
from services.tts.trim import trim

_SCRIPTS = frozenset({"LATIN"})
_LONGEST_PIECE = 200
"""Characters given to the model at once: some 12 s of speech, so that no request holds the thread for long."""
_FASTEST = 1.0
"""The model's own speed is exact (5 %) and clear from 0.25 up to here. Beyond, it moves in steps (1.3 gives 1.13, 1.4
gives 1.5) and skips sounds: transcripts of it are wrong from 1.5 on. Time scaling is exact and word-perfect up to 2."""
_SEED = 0
"""Of the noise in the voice: the same text always gives the same samples."""
_WARM_UP = "On March 3rd, Zyxwy paid $42."
"""Touches the model, the number rules and the net for unknown words."""


class HibariEngine(Engine):
    """The bundled voice, and those others that the cache of hibari holds already; nothing is ever downloaded.

    Args:
        threads: onnxruntime's threads.
    """

    name = "hibari"

    def __init__(self, threads: int = 1) -> None:
        super().__init__()
        self._threads = threads
        self._models: dict[str, Any] = {}
        self._thread = ModelThread("hibari")

    async def load(self) -> None:
        """Load all voices and speak a word with each."""
        self.voices, self.default_voice = await self._thread.run(self._load)

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """One block a sentence; the next one is begun when this one has been taken."""
        model = self._models[segment.voice.name]
        pieces = _pieces(model, segment.text)
        for index, piece in enumerate(pieces):
            pause_s = texts.longest_pause_s(piece, last=index == len(pieces) - 1)
            priority = LATER if index or segment.previous_text else FIRST
            yield await self._thread.run(_speak, model, piece, segment.speaking_rate, pause_s, priority=priority)

    async def aclose(self) -> None:
        """End the thread, and with it the models."""
        await self._thread.aclose()
        self._models.clear()

    def _load(self) -> tuple[tuple[Voice, ...], str]:
        """On the thread: build and warm up every voice that is there."""
        try:
            hibari = importlib.import_module("hibari")
            registry = importlib.import_module("hibari.voices")
        except ImportError:
            raise StartupError("hibari is not installed; pip install 'parley-voice[tts-hibari]'") from None
        voices = []
        for name, path in _installed(registry):
            try:
                self._models[name] = hibari.Hibari(name, path, threads=self._threads)
                self._models[name](_WARM_UP, seed=_SEED)
            except Exception as error:  # whatever a damaged file makes the runtime raise
                raise StartupError(f"hibari's voice {name!r} does not load: {error}") from error
            native = AudioFormat(Encoding.PCM_S16LE, self._models[name].sample_rate)
            voices.append(Voice(name, self.name, (registry.VOICES[name]["language"],), native, _SCRIPTS))
        return tuple(voices), str(registry.DEFAULT)


def _installed(registry: Any) -> Iterator[tuple[str, str]]:
    """Names and model files of the voices on this machine, the default one first."""
    for name in sorted(registry.VOICES, key=lambda name: name != registry.DEFAULT):
        try:
            path = registry.voice_path(name, download_missing=False)
        except FileNotFoundError:
            continue
        if Path(path).is_file():
            yield name, path


def _pieces(model: Any, text: str) -> list[str]:
    """Sentences, and parts of long ones; those without a word ("...") would be noise."""
    sentences = model.split_sentences(prepare(text))
    pieces = (piece for sentence in sentences for piece in texts.cut(sentence, _LONGEST_PIECE))
    return [piece for piece in pieces if texts.has_speech(piece)]


def _speak(model: Any, piece: str, rate: float, pause_s: float) -> Samples:
    """On the thread: one piece, without needless silence, at the rate asked for."""
    speed = min(rate, _FASTEST)
    spoken: Samples = np.asarray(model(piece, speed=speed, seed=_SEED), np.float32)
    trimmed = trim(spoken, model.sample_rate, pause_s / speed)
    return time_scale(trimmed, rate / speed, model.sample_rate)
