"""Float samples of any length to chunks for the wire. Pure and incremental."""

from collections.abc import Iterator

import numpy as np

from services.common.audio import Resampler, Samples, encode
from services.common.audio_format import AudioFormat
from services.tts.domain import Chunk

_FIRST_S, _LONGEST_S, _SHORTEST_S = 0.04, 0.1, 0.02
_FIRST_STEP_S, _STEP_S = 0.1, 1.0


class Chunker:
    """Resamples, cuts and encodes what an engine gives: first a chunk of 20 to 40 ms (or, where `short_first` is not
    set, one like the others), then 100 ms each.

    What is there leaves at once; only a rest below 20 ms waits for what follows. The work is done as chunks are asked
    for, a second of audio at most at a time, so that long audio never keeps others waiting.
    """

    def __init__(self, from_hz: int, audio_format: AudioFormat, *, short_first: bool = True) -> None:
        self._format = audio_format
        self._frame_bytes = audio_format.frame_bytes
        rate = audio_format.sample_rate_hz
        self._resampler = Resampler(from_hz, rate)
        self._longest, self._shortest = round(_LONGEST_S * rate), round(_SHORTEST_S * rate)
        self._first = round(_FIRST_S * rate) if short_first else self._longest
        self._first_step, self._step = round(_FIRST_STEP_S * from_hz), round(_STEP_S * from_hz)
        self._encoded = b""
        self._at = 0  # bytes of it that have been sent
        self._waiting = 0  # samples that have not
        self._sent = 0

    @property
    def audio_s(self) -> float:
        """Seconds of audio in the chunks so far."""
        return self._sent / self._format.sample_rate_hz

    def feed(self, samples: Samples) -> Iterator[Chunk]:
        """The chunks that the samples complete; exhaust the iterator before the next call."""
        begin = 0
        while begin < len(samples):
            end = begin + (self._step if self._sent else self._first_step)
            self._add(self._resampler.feed(samples[begin:end]))
            begin = end
            # A rest that would be too short for a chunk of its own is kept back from the last one.
            while self._waiting >= self._wanted + self._shortest:
                yield self._take(self._wanted)
        if self._waiting >= self._shortest:
            yield from self._take_all()

    def finish(self) -> Iterator[Chunk]:
        """The chunks of what is left; nothing may be fed after it."""
        self._add(self._resampler.feed(np.zeros(0, np.float32), last=True))
        yield from self._take_all()

    @property
    def _wanted(self) -> int:
        return self._longest if self._sent else self._first

    def _add(self, samples: Samples) -> None:
        self._encoded = self._encoded[self._at :] + encode(samples, self._format)
        self._at = 0
        self._waiting += len(samples)

    def _take_all(self) -> Iterator[Chunk]:
        while self._waiting:
            if self._waiting <= self._wanted:
                yield self._take(self._waiting)
            elif self._waiting < self._wanted + self._shortest:
                yield self._take(self._waiting - self._shortest)
            else:
                yield self._take(self._wanted)

    def _take(self, count: int) -> Chunk:
        end = self._at + count * self._frame_bytes
        chunk = Chunk(self._encoded[self._at : end], self.audio_s)
        self._at = end
        self._waiting -= count
        self._sent += count
        return chunk
