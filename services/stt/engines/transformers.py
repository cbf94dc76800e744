"""Any speech model that `transformers` loads: Whisper, Moonshine and the like, and CTC models such as Parakeet.

One model, on its own thread, makes final and interim transcripts alike.
"""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.common.audio import Samples
from services.common.device import choose_device
from services.common.errors import StartupError, first_line
from services.common.model_thread import ModelThread, Stop
from services.stt import weights
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.engines.base import ListeningEngine
from services.stt.settings import SttSettings
from services.stt.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from services.stt.engines.transformers_decoding import Decoder

NAME = "transformers"
_DTYPES = ("auto", "float32", "float16", "bfloat16")


class TransformersEngine(ListeningEngine):
    """Args:
    settings: which model, on what device, how precise.
    """

    def __init__(self, settings: SttSettings) -> None:
        self._settings = settings
        self._thread = ModelThread("stt")
        self._decoder: Decoder | None = None
        self._label = ""

    async def load(self) -> None:
        settings = self._settings
        if settings.stt_compute_type not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise StartupError(f"--stt_compute_type {settings.stt_compute_type}: --stt transformers knows {known}")
        try:
            await self._load_detector()
            location = await asyncio.to_thread(
                weights.locate_transformers, settings.model_reference, settings.cache_dir
            )
            self._label = location.label
            self._decoder = await self._thread.run(_load, location, settings)
        except ImportError as error:
            message = f"--stt transformers needs the extra stt-transformers: {error.name} is not installed"
            raise StartupError(message) from None

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self._label, NAME, self._loaded.languages, supports_word_timings=False)

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        stop = Stop()
        try:
            return await self._thread.run(_recognize, self._loaded, samples, request, interim, stop)
        finally:
            stop.set()

    async def aclose(self) -> None:
        await self._thread.aclose()
        self._decoder = None

    @property
    def _loaded(self) -> "Decoder":
        if self._decoder is None:
            raise RuntimeError("the engine is not loaded")
        return self._decoder


def create(settings: SttSettings) -> TransformersEngine:
    """The engine as the settings want it."""
    return TransformersEngine(settings)


def _recognize(
    decoder: "Decoder", samples: Samples, request: RecognitionRequest, interim: bool, stop: Stop
) -> Recognition:
    begun = time.monotonic()
    text, confidence, language = decoder.recognize(samples, request, quick=interim, stop=stop)
    return Recognition(text, language, confidence, processing_s=time.monotonic() - begun)


def _load(location: weights.Location, settings: SttSettings) -> "Decoder":
    """Load a model and recognize a second of noise, so that the first user does not wait for what is done once."""
    import torch
    import transformers

    from services.stt.engines import transformers_decoding

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.stt_threads:
        torch.set_num_threads(settings.stt_threads)
    device = choose_device(settings.stt_device, cuda=torch.cuda.is_available())
    compute_type = settings.stt_compute_type
    if compute_type == "auto":
        compute_type = "float32" if device == "cpu" else "float16"
    spoken = "en" if settings.language.lower() == "auto" else settings.language
    try:
        decoder = transformers_decoding.load(
            location.source,
            device,
            getattr(torch, compute_type),
            spoken,
            local_files_only=Path(location.source).is_dir(),
        )
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ).astype(np.float32)
        decoder.recognize(noise, RecognitionRequest(decoder.languages[0]), quick=True, stop=Stop())
    except StartupError:
        raise
    except Exception as error:  # hub, file format, device: whatever it is, the operator wants one line
        message = f"cannot load the speech model {location.label} on {device}: {first_line(error)}"
        raise StartupError(message) from error
    return decoder
