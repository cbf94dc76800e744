"""The recent past of a stream, addressed by position; and the removal of a constant offset from it."""

from collections import deque

import numpy as np

from services.common.audio import Samples
from services.stt.timebase import FRAME_SAMPLES, SAMPLE_RATE_HZ

_DC_TIME_CONSTANT_S = 0.5


class AudioBuffer:
    """Samples from a moving start to now. Memory is what lies between `forget` and `append`."""

    def __init__(self) -> None:
        self._chunks: deque[Samples] = deque()
        self._start = 0
        self.end = 0
        """The position after the last sample."""

    def append(self, samples: Samples) -> None:
        """Add samples at the end; the array is kept, not copied."""
        if len(samples):
            self._chunks.append(samples)
            self.end += len(samples)

    def forget(self, before: int) -> None:
        """Let go of whole chunks that lie before a position."""
        while self._chunks and self._start + len(self._chunks[0]) <= before:
            self._start += len(self._chunks.popleft())

    def slice(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` up to `end`, as far as they are still there."""
        kept = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.float32)
        return kept[max(0, start - self._start) : max(0, end - self._start)].copy()

    def __len__(self) -> int:
        return self.end - self._start


class DcBlocker:
    """Subtracts the slowly moving mean, frame by frame.

    An offset of half the full scale (cheap sound cards have it) makes Silero miss a third of the speech; without it
    nothing is missed.
    """

    _SHARE = FRAME_SAMPLES / (SAMPLE_RATE_HZ * _DC_TIME_CONSTANT_S)

    def __init__(self) -> None:
        self._mean: float | None = None

    def __call__(self, frames: Samples) -> Samples:
        """Whole frames, shape (frames, 512), in and out; between two frames the mean moves linearly."""
        means = [self._mean if self._mean is not None else float(frames[0].mean())] if len(frames) else []
        for mean in frames.mean(axis=1).tolist():
            means.append(means[-1] + self._SHARE * (mean - means[-1]))
        if means:
            self._mean = means[-1]
        steps = np.linspace(0, 1, FRAME_SAMPLES, endpoint=False, dtype=np.float32)
        before, after = np.array(means[:-1], np.float32)[:, None], np.array(means[1:], np.float32)[:, None]
        blocked: Samples = frames - (before + (after - before) * steps)
        return blocked

    def rest(self, samples: Samples) -> Samples:
        """Less than a frame, at the end of what there is; the mean stays where it is."""
        return samples - np.float32(self._mean or 0.0)
