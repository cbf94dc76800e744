"""How likely a speaker has finished the turn, from the sound alone: smart-turn v3 (BSD-2), some 80 ms of CPU a pause.

What it is given, and how, is what pipecat does (pipecat/audio/turn/smart_turn/local_smart_turn_v3.py): Whisper's
log-mel spectrogram, 80 bands of 800 frames, of the last 8 s, scaled to mean 0 and variance 1, with zeros before it
where there is less. The answer is a probability already.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from services.common.audio import Samples
from services.common.errors import StartupError
from services.stt.timebase import to_samples
from services.stt.weights import locate_turn_end

_HEARD_S = 8
_VARIANCE_FLOOR = 1e-7


class TurnEndModel(Protocol):
    """Hears whether a turn has ended; shared by all streams."""

    async def probability(self, samples: Samples) -> float:
        """How likely, in [0, 1], the speaker has finished; float32 at 16 kHz, with the silence since the last word.

        Cancel the awaiting task to stop: work that has not begun is dropped.
        """


class SmartTurn:
    """Args:
    name: `smart-turn`, or the path of an ONNX file.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(1, "stt-turn-end")
        self._run: Callable[[Samples], float] | None = None

    async def load(self) -> None:
        """Load the model and try it.

        Raises:
            StartupError: where it is missing, or the file is no such model.
        """
        file = locate_turn_end(self._name)
        loop = asyncio.get_running_loop()
        try:
            self._run = await loop.run_in_executor(self._thread, _load, file)
            await self.probability(np.zeros(to_samples(1.0), np.float32))
        except Exception as error:  # whatever ONNX Runtime makes of the file
            raise StartupError(f"--turn_end_model: {file} is no smart-turn model: {error}") from error

    async def probability(self, samples: Samples) -> float:
        """As `TurnEndModel` has it."""
        if self._run is None:
            raise RuntimeError("the turn-end model is not loaded")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, samples)

    async def aclose(self) -> None:
        """Let go of it, once the work in progress is done."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)


def _load(file: Path) -> Callable[[Samples], float]:
    import onnxruntime
    from faster_whisper.feature_extractor import FeatureExtractor

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    log_mel: Any = FeatureExtractor(chunk_length=_HEARD_S)

    def run(samples: Samples) -> float:
        features = log_mel(_window(samples), padding=0).astype(np.float32)
        return float(session.run(None, {"input_features": features[None]})[0][0, 0])

    return run


def _window(samples: Samples) -> Samples:
    length = to_samples(_HEARD_S)
    last = samples[-length:]
    heard = np.pad(last, (length - len(last), 0))
    scaled: Samples = ((heard - heard.mean()) / np.sqrt(heard.var() + _VARIANCE_FLOOR)).astype(np.float32)
    return scaled
