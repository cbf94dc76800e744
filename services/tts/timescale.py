"""Speech made faster or slower without a change of pitch. Pure and incremental.

WSOLA (W. Verhelst and M. Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for high quality
time-scale modification of speech", ICASSP 1993): overlapping frames are taken from the input at `factor` times the step
at which they are laid down, each from where, within a tolerance, it best continues the frame before it.
"""

import math

import numpy as np

from services.common.audio import Samples

_FRAME_S = 0.030
_TOLERANCE_S = 0.008


class TimeScale:
    """Plays `factor` times as fast: above 1 shorter, below 1 longer. Any chunking gives the same samples."""

    def __init__(self, factor: float, rate_hz: int) -> None:
        self._factor = factor
        self._hop = round(_FRAME_S * rate_hz / 2)
        self._tolerance = round(_TOLERANCE_S * rate_hz)
        frame = 2 * self._hop
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)).astype(np.float32)  # sums to 1
        # Half a frame of silence before the input lets the first frame fade in before the first sample.
        self._input = np.zeros(self._hop + self._tolerance, np.float32)
        self._dropped = 0  # samples of the padded input that are no longer held
        self._overlap = np.zeros(self._hop, np.float32)
        self._previous = 0  # where the last frame was taken, in the padded input
        self._frames = 0
        self._received = 0
        self._sent = 0

    def feed(self, samples: Samples) -> Samples:
        """Take a chunk; return what is certain now."""
        self._received += len(samples)
        self._input = np.concatenate([self._input, samples])
        done = self._run()
        self._sent += len(done)
        return done

    def finish(self) -> Samples:
        """Return the rest; the whole is as long as the input divided by the factor."""
        missing = max(0, math.ceil(self._received / self._factor) - self._sent)
        padding = math.ceil((missing + 4 * self._hop) * self._factor) + 4 * self._hop + 2 * self._tolerance
        self._input = np.concatenate([self._input, np.zeros(padding, np.float32)])
        return self._run()[:missing]

    def _run(self) -> Samples:
        """Lay down every frame whose input is there."""
        out = []
        frame = 2 * self._hop
        while True:
            ideal = self._tolerance + int(self._frames * self._hop * self._factor) - self._dropped
            natural = self._previous + self._hop - self._dropped
            if max(ideal + self._tolerance, natural) + frame > len(self._input):
                break
            position = ideal if self._frames == 0 else self._best(natural, ideal)
            laid = self._input[position : position + frame] * self._window
            done = self._overlap + laid[: self._hop]
            self._overlap = laid[self._hop :]
            if self._frames:  # the first half frame is the silence before the input
                out.append(done)
            self._previous = position + self._dropped
            self._frames += 1
            self._forget()
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    def _best(self, natural: int, ideal: int) -> int:
        """Where the input around `ideal` is most like what would have followed the frame before."""
        frame = 2 * self._hop
        template = self._input[natural : natural + frame]
        region = self._input[ideal - self._tolerance : ideal + self._tolerance + frame]
        likeness = np.correlate(region, template, "valid")
        energy = np.cumsum(np.concatenate([[0.0], np.square(region, dtype=np.float64)]))
        norm = np.sqrt(np.maximum(energy[frame:] - energy[:-frame], 0) + 1e-9)
        return ideal - self._tolerance + int(np.argmax(likeness / norm))

    def _forget(self) -> None:
        """Drop input that no later frame can reach."""
        next_ideal = int(self._frames * self._hop * self._factor)
        keep_from = min(next_ideal, self._previous + self._hop) - self._dropped
        if keep_from > len(self._window):
            self._input = self._input[keep_from:]
            self._dropped += keep_from


def time_scale(samples: Samples, factor: float, rate_hz: int) -> Samples:
    """`TimeScale` for a whole recording; a factor of 1 is left as it is."""
    if factor == 1:
        return samples
    scale = TimeScale(factor, rate_hz)
    return np.concatenate([scale.feed(samples), scale.finish()])
