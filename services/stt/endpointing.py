"""Endpointing: from the speech probability of each 32 ms frame to the beginnings and ends of speech.

Pure and incremental; time is the number of samples fed. A *segment* is a stretch of audio that a recognizer gets in one
piece. Where the server ends utterances a segment is an utterance (unless that is longer than `SEGMENT_LIMIT_S`); where
the client does, an utterance is all the segments until it says so.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from services.stt.timebase import FRAME_SAMPLES, to_samples

SEGMENT_LIMIT_S = 25.0
"""Longest segment: with its padding it fits into a model's window of 30 s."""
MANUAL_PAUSE_S = 2.0
"""Pause that ends a segment, but not the utterance, where the client ends utterances: long enough to be no part of a
sentence, short enough to keep memory and the wait at the end small."""
_HYSTERESIS = 0.15
"""Speech goes on down to this much below the threshold (Silero's own value)."""
_CUT_SEARCH_S = 8.0
"""A segment at its limit is cut where it is least like speech within so many seconds (a third of it at most)."""
_CUT_WIDTH_FRAMES = 5
"""How long a stretch is looked at: a gap between words, not within one."""

SecondsField = Literal[
    "end_silence", "min_end_silence", "max_end_silence", "min_speech", "prefix_padding", "max_utterance"
]
LIMITS_S: dict[SecondsField, tuple[float, float]] = {
    "end_silence": (0.1, 10.0),
    "min_end_silence": (0.1, 10.0),
    "max_end_silence": (0.1, 10.0),
    "min_speech": (0.0, 2.0),
    "prefix_padding": (0.0, 2.0),
    "max_utterance": (1.0, 600.0),
}
"""Least and most seconds of what a request or a flag may set."""


@dataclass(frozen=True)
class EndpointingConfig:
    """How speech is told from silence; probabilities in [0, 1], the rest in seconds.

    Attributes:
        speech_threshold: probability at which speech starts.
        end_silence_s: silence that ends an utterance.
        min_end_silence_s: silence that ends an utterance which sounds finished; None: `end_silence_s`.
        max_end_silence_s: silence that ends an utterance which sounds unfinished; None: `end_silence_s`.
        soft_silence_s: silence after which the utterance may have ended; 0: only where it surely has.
        min_speech_s: speech shorter than this is ignored.
        prefix_padding_s: audio kept from before the detected start.
        max_utterance_s: an utterance is closed after this long, and the next begins where it was cut.
    """

    speech_threshold: float = 0.5
    end_silence_s: float = 0.5
    min_end_silence_s: float | None = None
    max_end_silence_s: float | None = None
    soft_silence_s: float = 0.032
    min_speech_s: float = 0.12
    prefix_padding_s: float = 0.3
    max_utterance_s: float = 25.0


@dataclass(frozen=True)
class SegmentStarted:
    """Speech has begun at sample `onset`; its audio begins at `start`, padding included."""

    start: int
    onset: int


@dataclass(frozen=True)
class Paused:
    """A soft silence since `speech_end`: if it lasts, the segment's audio will have ended at `end`."""

    speech_end: int
    end: int


@dataclass(frozen=True)
class Resumed:
    """The pause was none: the segment goes on."""


@dataclass(frozen=True)
class SegmentEnded:
    """A segment holds the audio from `start` to `end`, in which speech lies between `onset` and `speech_end`.

    `closes_utterance` says whether the utterance has ended with it.
    """

    start: int
    onset: int
    speech_end: int
    end: int
    closes_utterance: bool


EndpointEvent = SegmentStarted | Paused | Resumed | SegmentEnded


@dataclass
class _Segment:
    """The segment being spoken, in samples."""

    start: int
    onset: int
    silent_since: int | None = None
    paused_at: int | None = None


class Endpointer:
    """Feed it the probability of each frame; it answers with what has begun and ended."""

    def __init__(self, config: EndpointingConfig, *, manual_end: bool = False) -> None:
        self._config = config
        self._manual_end = manual_end
        self._quiet_below = max(config.speech_threshold - _HYSTERESIS, 0.01)
        silence_s = MANUAL_PAUSE_S if manual_end else config.end_silence_s
        self._usual_end_silence = self._end_silence = to_samples(silence_s)
        shortest_s = silence_s if manual_end else min(silence_s, config.min_end_silence_s or silence_s)
        self._soft_silence = to_samples(min(config.soft_silence_s, shortest_s) or silence_s)
        self._min_speech = to_samples(config.min_speech_s)
        self._padding = to_samples(config.prefix_padding_s)
        self._utterance_limit = None if manual_end else to_samples(config.max_utterance_s)
        searched_s = min(_CUT_SEARCH_S, config.max_utterance_s / 3)
        self._recent = deque[float](maxlen=max(1, to_samples(searched_s) // FRAME_SAMPLES))
        self._now = 0
        self._floor = 0  # what lies before belongs to a segment that has ended
        self._run_start: int | None = None  # speech too short, so far, to count
        self._segment: _Segment | None = None
        self._utterance_start: int | None = None
        self._last_speech = 0

    @property
    def speaking(self) -> bool:
        """Whether a segment is open."""
        return self._segment is not None

    @property
    def last_speech(self) -> int:
        """Where the most recent frame of speech ended, in samples."""
        return self._last_speech

    @property
    def keep_from(self) -> int:
        """The oldest sample that an event to come may still ask for."""
        if self._segment is not None:
            return self._segment.start
        since = self._now if self._run_start is None else self._run_start
        return max(self._floor, since - self._padding)

    def feed(self, probability: float) -> tuple[EndpointEvent, ...]:
        """Take the speech probability of the next frame."""
        frame_start = self._now
        self._now += FRAME_SAMPLES
        self._recent.append(probability)
        if self._segment is None:
            return self._feed_silence(probability, frame_start)
        return (*self._feed_speech(self._segment, probability, frame_start), *self._limit())

    def expect_end(self, silence_s: float) -> None:
        """In the pause that lasts: so much silence, in seconds, ends the utterance this time.

        Without effect where there is no pause, or where the client ends utterances.
        """
        if not self._manual_end and self._segment is not None and self._segment.paused_at is not None:
            self._end_silence = to_samples(silence_s)

    def flush(self, end: int) -> tuple[EndpointEvent, ...]:
        """Close the utterance now; `end` is the position after the last sample, within a frame of what was fed."""
        segment, self._run_start = self._segment, None
        events: tuple[EndpointEvent, ...] = ()
        if segment is not None:
            speech_end = end if segment.silent_since is None else segment.silent_since
            events = (self._end(segment, speech_end, segment.paused_at or end, closes=True),)
        self._floor, self._utterance_start = end, None
        return events

    def _feed_silence(self, probability: float, frame_start: int) -> tuple[EndpointEvent, ...]:
        if self._run_start is None:
            if probability < self._config.speech_threshold:
                return ()
            self._run_start = frame_start
        elif probability < self._quiet_below:
            self._run_start = None
            return ()
        if self._now - self._run_start < self._min_speech:
            return ()
        onset, self._run_start = self._run_start, None
        return (self._begin(max(self._floor, onset - self._padding), onset),)

    def _feed_speech(self, segment: _Segment, probability: float, frame_start: int) -> tuple[EndpointEvent, ...]:
        if probability >= self._config.speech_threshold:
            was_paused = segment.paused_at is not None
            segment.silent_since = segment.paused_at = None
            self._end_silence = self._usual_end_silence
            self._last_speech = self._now
            return (Resumed(),) if was_paused else ()
        if segment.silent_since is None:
            if probability >= self._quiet_below:
                self._last_speech = self._now
                return ()
            segment.silent_since = frame_start
        silence = self._now - segment.silent_since
        if silence >= self._end_silence:
            return (self._end(segment, segment.silent_since, segment.paused_at or self._now, not self._manual_end),)
        if silence >= self._soft_silence and segment.paused_at is None:
            segment.paused_at = self._now
            return (Paused(segment.silent_since, self._now),)
        return ()

    def _limit(self) -> tuple[EndpointEvent, ...]:
        """Cut what has grown too long where it is least like speech, and go on from there."""
        segment = self._segment
        if segment is None:
            return ()
        utterance_start = segment.onset if self._utterance_start is None else self._utterance_start
        at_limit = self._utterance_limit is not None and self._now - utterance_start >= self._utterance_limit
        if not at_limit and self._now - segment.onset < to_samples(SEGMENT_LIMIT_S):
            return ()
        if segment.silent_since is not None and (at_limit or self._manual_end):
            return (self._end(segment, segment.silent_since, segment.paused_at or self._now, at_limit),)
        cut = max(self._now - self._frames_since_quietest() * FRAME_SAMPLES, segment.onset + FRAME_SAMPLES)
        return (self._end(segment, cut, cut, at_limit), self._begin(cut, cut))

    def _frames_since_quietest(self) -> int:
        recent, width = list(self._recent), min(_CUT_WIDTH_FRAMES, len(self._recent))
        quietest = min(range(len(recent) - width + 1), key=lambda at: (sum(recent[at : at + width]), -at))
        return len(recent) - quietest - width // 2

    def _begin(self, start: int, onset: int) -> SegmentStarted:
        if self._utterance_start is None:
            self._utterance_start = onset
        self._segment = _Segment(start, onset)
        self._last_speech = self._now
        return SegmentStarted(start, onset)

    def _end(self, segment: _Segment, speech_end: int, end: int, closes: bool) -> SegmentEnded:
        self._segment = None
        self._end_silence = self._usual_end_silence
        self._floor = end
        if closes:
            self._utterance_start = None
        return SegmentEnded(segment.start, segment.onset, speech_end, end, closes)
