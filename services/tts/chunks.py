"""Float samples of any length to chunks for the wire. Pure and incremental."""

from collections.abc import Iterator

import numpy as np

from services.common.audio import Resampler, Samples, encode
from services.common.audio_format import AudioFormat
from services.tts.domain import Chunk

_FIRST_S, _LONGEST_S, _SHORTEST_S = 0.04, 0.1, 0.02
_STEP_S = 0.1


class Chunker:
    """Resamples, cuts and encodes what an engine gives: first a chunk of 20 to 40 ms, then 100 ms each.

    What is there leaves at once; only a rest below 20 ms waits for what follows. Chunks are made one at a time, as they
    are asked for, so that long audio never keeps others waiting.
    """

    def __init__(self, from_hz: int, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._resampler = Resampler(from_hz, audio_format.sample_rate_hz)
        rate = audio_format.sample_rate_hz
        self._first, self._longest, self._shortest = (round(s * rate) for s in (_FIRST_S, _LONGEST_S, _SHORTEST_S))
        self._step = round(_STEP_S * from_hz)
        self._waiting: Samples = np.zeros(0, np.float32)
        self._sent = 0

    @property
    def audio_s(self) -> float:
        """Seconds of audio in the chunks so far."""
        return self._sent / self._format.sample_rate_hz

    def feed(self, samples: Samples) -> Iterator[Chunk]:
        """The chunks that the samples complete; exhaust the iterator before the next call."""
        for begin in range(0, len(samples), self._step):
            self._add(self._resampler.feed(samples[begin : begin + self._step]))
            # A rest that would be too short for a chunk of its own is kept back from the last one.
            while len(self._waiting) >= self._wanted + self._shortest:
                yield self._take(self._wanted)
        if len(self._waiting) >= self._shortest:
            yield from self._take_all()

    def finish(self) -> Iterator[Chunk]:
        """The chunks of what is left; nothing may be fed after it."""
        self._add(self._resampler.feed(np.zeros(0, np.float32), last=True))
        yield from self._take_all()

    @property
    def _wanted(self) -> int:
        return self._longest if self._sent else self._first

    def _add(self, samples: Samples) -> None:
        self._waiting = np.concatenate([self._waiting, samples]) if len(self._waiting) else samples

    def _take_all(self) -> Iterator[Chunk]:
        while len(self._waiting):
            left = len(self._waiting)
            if left <= self._wanted:
                yield self._take(left)
            elif left < self._wanted + self._shortest:
                yield self._take(left - self._shortest)
            else:
                yield self._take(self._wanted)

    def _take(self, count: int) -> Chunk:
        chunk = Chunk(encode(self._waiting[:count], self._format), self.audio_s)
        self._waiting = self._waiting[count:]
        self._sent += count
        return chunk
