"""From the bytes of a stream to segments of speech. No I/O, no tasks: what it is fed decides alone."""

from abc import ABC, abstractmethod

import numpy as np

from services.common.audio import Decoder, Resampler, Samples
from services.common.audio_format import AudioFormat, refuse_container
from services.common.errors import UnsupportedAudioError
from services.stt.audio_buffer import AudioBuffer, DcBlocker
from services.stt.endpointing import Endpointer, EndpointEvent, SegmentEnded, SegmentStarted
from services.stt.timebase import FRAME_SAMPLES, SAMPLE_RATE_HZ
from services.stt.vad import VoiceDetector


class Segmenter(ABC):
    """Finds the segments of one stream; positions are samples at 16 kHz from its start."""

    @abstractmethod
    def feed(self, data: bytes) -> list[EndpointEvent]:
        """Take some bytes, in any chunking.

        Raises:
            UnsupportedAudioError: naming `audio`, where the stream begins like an audio file.
        """

    @abstractmethod
    def flush(self) -> list[EndpointEvent]:
        """Close the utterance now, with all that was fed."""

    @abstractmethod
    def expect_end(self, silence_s: float) -> None:
        """In the pause that lasts: so much silence, in seconds, ends the utterance this time."""

    @abstractmethod
    def finish(self) -> None:
        """Check that the stream ended at the end of a sample.

        Raises:
            UnsupportedAudioError: naming `audio`, where it did not.
        """

    @abstractmethod
    def samples(self, start: int, end: int) -> Samples:
        """The audio from `start` up to `end`; ask while handling the event that names the positions."""

    @abstractmethod
    def forget(self) -> None:
        """Let go of the audio that no event to come will name."""

    @property
    @abstractmethod
    def position(self) -> int:
        """How much has been heard."""

    @property
    @abstractmethod
    def last_speech(self) -> int:
        """Where the most recent speech ended."""


class VoiceSegmenter(Segmenter):
    """Decodes, resamples, removes a constant offset, asks the detector, and lets the endpointer decide."""

    def __init__(self, audio_format: AudioFormat, detector: VoiceDetector, endpointer: Endpointer) -> None:
        self._rate_hz = audio_format.sample_rate_hz
        self._decoder = Decoder(audio_format)
        self._resampler = Resampler(self._rate_hz, SAMPLE_RATE_HZ)
        self._dc_blocker = DcBlocker()
        self._detector = detector
        self._endpointer = endpointer
        self._heard = AudioBuffer()
        self._rest = np.zeros(0, np.float32)  # less than a frame

    def feed(self, data: bytes) -> list[EndpointEvent]:
        return self._take(self._resampler.feed(self._decoder.feed(data)))

    def flush(self) -> list[EndpointEvent]:
        # The resampler holds back some 20 to 70 ms, which belong to what is being closed.
        held_back = self._resampler.feed(np.zeros(0, np.float32), last=True)
        self._resampler = Resampler(self._rate_hz, SAMPLE_RATE_HZ)
        return [*self._take(held_back), *self._endpointer.flush(self.position)]

    def expect_end(self, silence_s: float) -> None:
        self._endpointer.expect_end(silence_s)

    def finish(self) -> None:
        self._decoder.finish()

    def samples(self, start: int, end: int) -> Samples:
        heard = self._heard.slice(start, min(end, self._heard.end))
        beyond = end - self._heard.end
        if beyond <= 0:
            return heard
        return np.concatenate([heard, self._dc_blocker.rest(self._rest[:beyond])[max(0, start - self._heard.end) :]])

    def forget(self) -> None:
        self._heard.forget(self._endpointer.keep_from)

    @property
    def position(self) -> int:
        return self._heard.end + len(self._rest)

    @property
    def last_speech(self) -> int:
        return self._endpointer.last_speech

    @property
    def kept_samples(self) -> int:
        """How much audio is in memory."""
        return len(self._heard) + len(self._rest)

    def _take(self, samples: Samples) -> list[EndpointEvent]:
        pending = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        whole = len(pending) - len(pending) % FRAME_SAMPLES
        self._rest = pending[whole:].copy()
        if not whole:
            return []
        frames = self._dc_blocker(pending[:whole].reshape(-1, FRAME_SAMPLES))
        for frame in frames:
            self._heard.append(frame)
        return [
            event
            for probability in self._detector.probabilities(frames)
            for event in self._endpointer.feed(probability)
        ]


class CountingSegmenter(Segmenter):
    """All that comes before `flush` is one segment without samples: for engines that do not listen.

    It counts bytes and does nothing else, so that load tests measure the rest of the system.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._frame_bytes = audio_format.frame_bytes
        self._bytes_per_second = audio_format.bytes_per_second
        self._bytes = 0
        self._start: int | None = None

    def feed(self, data: bytes) -> list[EndpointEvent]:
        if not self._bytes:
            refuse_container(data, "audio")
        before = self._bytes
        self._bytes += len(data)
        if self._start is not None or not data:
            return []
        self._start = start = self._position(before)
        return [SegmentStarted(start, start)]

    def flush(self) -> list[EndpointEvent]:
        start, self._start = self._start, None
        end = self.position
        return [] if start is None else [SegmentEnded(start, start, end, end, closes_utterance=True)]

    def expect_end(self, silence_s: float) -> None:
        """The client alone ends its segments."""

    def finish(self) -> None:
        if rest := self._bytes % self._frame_bytes:
            message = f"ends inside a sample: {rest} of {self._frame_bytes} bytes"
            raise UnsupportedAudioError(message, field="audio")

    def samples(self, start: int, end: int) -> Samples:
        return np.zeros(0, np.float32)

    def forget(self) -> None:
        """There is nothing to let go of."""

    @property
    def position(self) -> int:
        return self._position(self._bytes)

    @property
    def last_speech(self) -> int:
        return self.position

    def _position(self, count: int) -> int:
        return count * SAMPLE_RATE_HZ // self._bytes_per_second
