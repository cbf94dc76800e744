"""Whisper on CTranslate2: a careful model for final transcripts, and a quick one for those while the user speaks.

Each model lives on its own thread. Where requests wait for a model, short audio goes before long, and final
recognitions before interim ones.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.audio import Samples
from services.common.errors import StartupError, first_line
from services.common.model_thread import ModelThread, Stop
from services.stt import weights
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.engines.base import ListeningEngine, priority_of
from services.stt.settings import SttSettings
from services.stt.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from services.stt.engines.whisper_decoding import WhisperDecoder


class _Stopped(Exception):
    """Nobody waits for the recognition any more."""


@dataclass
class _Model:
    """A loaded model, the thread that owns it, and the languages it knows."""

    name: str
    thread: ModelThread
    decoder: "WhisperDecoder"

    @property
    def languages(self) -> tuple[str, ...]:
        return self.decoder.languages


class FasterWhisperEngine(ListeningEngine):
    """Args:
    settings: which models, on what device, how precise.
    """

    def __init__(self, settings: SttSettings) -> None:
        self._settings = settings
        self._models: list[_Model] = []
        self._threads: list[ModelThread] = []

    async def load(self) -> None:
        try:
            await self._load()
        except ImportError as error:
            message = f"--stt faster-whisper needs the extra stt-faster-whisper: {error.name} is not installed"
            raise StartupError(message) from None

    async def _load(self) -> None:
        settings = self._settings
        names = [settings.model_reference]
        if settings.stt_interim_model_name not in ("", settings.model_reference):
            names.append(settings.stt_interim_model_name)
        await self._load_detector()
        for role, name in zip(("final", "interim"), names, strict=False):
            thread = ModelThread(f"stt-{role}")
            self._threads.append(thread)
            location = await asyncio.to_thread(weights.locate, name, settings.cache_dir)
            decoder = await thread.run(_load, location, settings)
            self._models.append(_Model(location.label, thread, decoder))

    @property
    def info(self) -> ModelInfo:
        final = self._models[0]
        return ModelInfo(final.name, "faster-whisper", final.languages, supports_word_timings=True)

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        model = self._models[0]
        # The quick model may know English alone; to guess the language it would not do either.
        if interim and request.language is not None and request.language in self._models[-1].languages:
            model = self._models[-1]
        priority = priority_of(samples, interim=interim)
        stop = Stop()
        try:
            return await model.thread.run(_recognize, model.decoder, samples, request, interim, stop, priority=priority)
        finally:
            stop.set()

    async def aclose(self) -> None:
        for thread in self._threads:
            await thread.aclose()
        self._models.clear()


def create(settings: SttSettings) -> FasterWhisperEngine:
    """The engine as the settings want it."""
    return FasterWhisperEngine(settings)


def _recognize(
    decoder: "WhisperDecoder", samples: Samples, request: RecognitionRequest, interim: bool, stop: Stop
) -> Recognition:
    begun = time.monotonic()

    def check() -> None:
        if stop:
            raise _Stopped

    check()
    recognition = decoder.recognize(samples, request, quick=interim, check=check)
    return Recognition(
        recognition.text,
        recognition.language,
        recognition.confidence,
        recognition.words,
        processing_s=time.monotonic() - begun,
    )


def _load(location: weights.Location, settings: SttSettings) -> "WhisperDecoder":
    """Load a model and recognize a second of noise, so that the first user does not wait for what is done once."""
    import ctranslate2
    from faster_whisper import WhisperModel

    from services.stt.engines.whisper_decoding import WhisperDecoder

    device = settings.stt_device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    compute_type = settings.stt_compute_type
    if compute_type == "auto":
        compute_type = "int8" if device == "cpu" else "float16"
    try:
        model: Any = WhisperModel(
            location.source,
            device=device,
            compute_type=compute_type,
            cpu_threads=settings.stt_threads,
            local_files_only=Path(location.source).is_dir(),
        )
    except Exception as error:  # hub, file format, device: whatever it is, the operator wants one line
        message = f"cannot load the speech model {location.label} on {device}: {first_line(error)}"
        raise StartupError(message) from error
    decoder = WhisperDecoder(model)
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
    language = "en" if "en" in decoder.languages else None
    decoder.recognize(noise, RecognitionRequest(language), quick=False, check=lambda: None)
    return decoder
