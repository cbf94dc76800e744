"""Whisper on CTranslate2: a careful model for final transcripts, and a quick one for those while the user speaks.

On a processor each model is worked on by several threads at a time, one for each speaker: two recognitions beside each
other on a core each take less time than one after the other on two, or than both in a batch (decision 042).
"""

import asyncio
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.audio import Samples
from services.common.cores import usable_cores
from services.common.device import choose_device
from services.common.errors import StartupError, first_line
from services.common.model_thread import ModelThread, Stop
from services.stt import weights
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.engines.base import ListeningEngine
from services.stt.settings import SttSettings
from services.stt.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from services.stt.engines.whisper_decoding import WhisperDecoder


_MOST_THREADS = 4
"""For one recognition: beyond, small models gain nothing."""


class _Stopped(Exception):
    """Nobody waits for the recognition any more."""


@dataclass
class _Model:
    """A loaded model, the threads that work on it, and the languages it knows."""

    name: str
    thread: ModelThread
    decoder: "WhisperDecoder"

    @property
    def languages(self) -> tuple[str, ...]:
        return self.decoder.languages


@dataclass(frozen=True)
class _Machine:
    """What a model runs on: recognitions at a time, and the CPU threads of each."""

    device: str
    workers: int
    threads: int


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
        machine = await asyncio.to_thread(_machine, settings)
        self.parallel = machine.workers
        for role, name in zip(("final", "interim"), names, strict=False):
            thread = ModelThread(f"stt-{role}", machine.workers)
            self._threads.append(thread)
            location = await asyncio.to_thread(weights.locate, name, settings.cache_dir)
            decoder = await thread.run(_load, location, settings, machine)
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
        stop = Stop()
        try:
            heard = await model.thread.run(_recognize, model.decoder, samples, request, interim, stop)
            return replace(heard, quick=model is not self._models[0])
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


def _machine(settings: SttSettings) -> _Machine:
    import ctranslate2

    device = choose_device(settings.stt_device, cuda=ctranslate2.get_cuda_device_count() > 0)
    cores = usable_cores()
    threads = settings.stt_threads or min(_MOST_THREADS, max(1, cores // 2))
    workers = settings.stt_workers or (max(1, cores // threads) if device == "cpu" else 1)
    return _Machine(device, workers, threads)


def _load(location: weights.Location, settings: SttSettings, machine: _Machine) -> "WhisperDecoder":
    """Load a model and recognize a second of noise, so that the first user does not wait for what is done once."""
    from faster_whisper import WhisperModel

    from services.stt.engines.whisper_decoding import WhisperDecoder

    compute_type = settings.stt_compute_type
    if compute_type == "auto":
        compute_type = "int8" if machine.device == "cpu" else "float16"
    try:
        model: Any = WhisperModel(
            location.source,
            device=machine.device,
            compute_type=compute_type,
            cpu_threads=machine.threads,
            num_workers=machine.workers,
            local_files_only=Path(location.source).is_dir(),
        )
    except Exception as error:  # hub, file format, device: whatever it is, the operator wants one line
        message = f"cannot load the speech model {location.label} on {machine.device}: {first_line(error)}"
        raise StartupError(message) from error
    decoder = WhisperDecoder(model)
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
    language = "en" if "en" in decoder.languages else None
    decoder.recognize(noise, RecognitionRequest(language), quick=False, check=lambda: None)
    return decoder
