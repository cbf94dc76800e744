"""Voice activity: the probability that a frame of 32 ms is speech. Silero v6, and the energy of the frame for fakes."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from services.common.audio import Samples
from services.common.model_cache import package_dir
from services.stt.timebase import FRAME_SAMPLES

_CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)


class VoiceDetector(ABC):
    """Hears one stream, frame after frame."""

    @abstractmethod
    def probabilities(self, frames: Samples) -> list[float]:
        """The speech probability of each of some frames, shape (frames, 512), that follow those heard before."""


class EnergyDetector(VoiceDetector):
    """Loud is speech: a stand-in that costs nothing, for the fake engine."""

    _LOUD_RMS = 0.01

    def probabilities(self, frames: Samples) -> list[float]:
        rms = np.sqrt(np.square(frames).mean(axis=1))
        return [float(value) for value in np.clip(rms / (2 * self._LOUD_RMS), 0.0, 1.0)]


class SileroModel:
    """Silero VAD v6 (MIT), shared by all streams; it comes inside the faster-whisper package. 0.1 ms a frame, inline.

    Raises:
        StartupError: where the package is not installed.
    """

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            str(_model_file()), options, providers=["CPUExecutionProvider"]
        )

    def new_detector(self) -> "SileroDetector":
        """A detector for a new stream."""
        return SileroDetector(self._session)


class SileroDetector(VoiceDetector):
    """One stream's state: the recurrent state of the model, and the end of the frame before as context."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._h, self._c = np.zeros(_STATE_SHAPE, np.float32), np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)

    def probabilities(self, frames: Samples) -> list[float]:
        if not len(frames):
            return []
        windows = np.empty((len(frames), _CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
        windows[:, _CONTEXT_SAMPLES:] = frames
        windows[0, :_CONTEXT_SAMPLES] = self._context
        windows[1:, :_CONTEXT_SAMPLES] = frames[:-1, -_CONTEXT_SAMPLES:]
        self._context = frames[-1, -_CONTEXT_SAMPLES:].copy()
        result, self._h, self._c = self._session.run(None, {"input": windows, "h": self._h, "c": self._c})
        return [float(value) for value in result.ravel()]


def _model_file() -> Path:
    return package_dir("faster_whisper") / "assets" / "silero_vad_v6.onnx"
