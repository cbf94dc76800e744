"""One response's audio and what the user has heard of it: pure bookkeeping, told the time.

Audio is received from the TTS, sent to the client, and played by it. The client plays without a pause from the first
audio on, at the speed of speech; audio that comes later than it was due starts a new run. Offsets are seconds from the
start of the response's audio.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.common.audio_format import AudioFormat

_KEPT_S = 1.0
"""Played audio that is kept for a client that says it has played less than the clock thinks."""


@dataclass
class _Spoken:
    text: str
    start_s: float
    audio_s: float = 0.0
    whole: bool = False
    words: list[tuple[int, int, float, float]] = field(default_factory=list)
    """Where the engine tells: the first and last character of each word, and its seconds in the segment's audio."""


@dataclass(frozen=True)
class Chunk:
    """Audio from `offset_s` to `end_s`."""

    audio: bytes
    offset_s: float
    end_s: float


@dataclass
class _Run:
    """Audio that plays without a pause: what is at `offset_s` plays at the time `at`."""

    offset_s: float
    at: float
    end_s: float


class Playback:
    """Follows the audio of one response and keeps what may have to be sent again.

    Args:
        audio_format: of the audio.
        paced: whether the client plays the audio as it comes; otherwise what was sent counts as played.
        starts_at: when the client will have played what came before.
    """

    def __init__(self, audio_format: AudioFormat, *, paced: bool = True, starts_at: float = 0.0) -> None:
        self._format = audio_format
        self._paced = paced
        self._starts_at = starts_at
        self._segments: list[_Spoken] = []
        self._runs: list[_Run] = []
        self._kept: deque[Chunk] = deque()
        self._unsent = 0
        """How many of the last chunks kept have not been handed out by `to_send`."""
        self._held_at_s: float | None = None
        self._reported_s: float | None = None
        self._left_s = 0.0
        self.received_s = 0.0
        """Seconds of audio received."""

    # Text and audio as they come

    def begin_segment(self, text: str) -> None:
        """The audio that follows speaks this text."""
        self._segments.append(_Spoken(text, self.received_s))

    def time_word(self, text: str, start_s: float, end_s: float) -> None:
        """The engine says when a word of the segment that was begun last is said, from the segment's first sample."""
        segment = self._segments[-1]
        at = segment.text.find(text, segment.words[-1][1] if segment.words else 0)
        if at >= 0 and text:
            segment.words.append((at, at + len(text), start_s, end_s))

    def receive(self, audio: bytes) -> None:
        """The next audio of the segment that was begun last; whole frames."""
        audio_s = len(audio) / self._format.bytes_per_second
        self._segments[-1].audio_s += audio_s
        self._kept.append(Chunk(audio, self.received_s, self.received_s + audio_s))
        self.received_s += audio_s
        self._unsent += 1

    def end_segment(self) -> None:
        """All audio of the segment that was begun last has been received."""
        self._segments[-1].whole = True

    # Audio as it goes

    def to_send(self) -> Iterator[Chunk]:
        """The audio that has not been sent, in order; nothing while it is held."""
        while self._unsent and self._held_at_s is None:
            self._unsent -= 1
            yield self._kept[-1 - self._unsent]

    def left(self, end_s: float, now: float) -> None:
        """The audio up to this offset has left for the client."""
        begun_s, self._left_s = self._left_s, end_s
        if not self._paced:
            return
        last = self._runs[-1] if self._runs else None
        if last is not None and last.at + last.end_s - last.offset_s >= now:
            last.end_s = end_s
        else:
            self._runs.append(_Run(begun_s, max(now, self._starts_at), end_s))
        self._forget(self.played_s(now))

    def played_s(self, now: float) -> float:
        """How far the client has played."""
        if not self._paced:
            return self._left_s
        if self._held_at_s is not None:
            return self._held_at_s
        if not self._runs:
            return 0.0
        run = self._runs[-1]
        return min(run.end_s, run.offset_s + max(0.0, now - run.at))

    def unplayed_s(self, now: float) -> float:
        """Seconds of audio received that the client has not played."""
        return self.received_s - self.played_s(now)

    @property
    def all_left(self) -> bool:
        """Whether all audio received has left for the client."""
        return self._left_s >= self.received_s - _ROUNDING_S

    @property
    def ends_at(self) -> float:
        """When the client will have played what has left."""
        run = self._runs[-1] if self._runs else None
        return self._starts_at if run is None else run.at + run.end_s - run.offset_s

    @property
    def held(self) -> bool:
        """Whether nothing is sent for now."""
        return self._held_at_s is not None

    def hold(self, now: float) -> None:
        """The client stops playing now and drops what it has not played: that is to be sent again."""
        if self._held_at_s is None:
            self._held_at_s = self.played_s(now)
            self._rewind(self._held_at_s)

    def stopped_at(self, played_s: float) -> None:
        """The client says how far it has really played; it knows better than the clock."""
        self._reported_s = min(max(0.0, played_s), self._left_s)
        if self._held_at_s is not None:
            self._held_at_s = self._reported_s
            self._rewind(self._held_at_s)

    def resume(self) -> None:
        """Send on from where the client stopped."""
        if self._held_at_s is not None:
            self._left_s, self._held_at_s, self._reported_s = self._held_at_s, None, None
            self._runs.clear()

    def _rewind(self, position_s: float) -> None:
        """All audio kept after this position is unsent again; a chunk that was played in part is cut there."""
        self._forget(position_s)
        unsent = [chunk for chunk in self._kept if chunk.end_s > position_s]
        kept = [chunk for chunk in self._kept if chunk.end_s <= position_s]
        if unsent and unsent[0].offset_s < position_s:
            first = unsent[0]
            frames = int((position_s - first.offset_s) * self._format.sample_rate_hz)
            cut = frames * self._format.frame_bytes
            cut_s = first.offset_s + cut / self._format.bytes_per_second
            kept.append(Chunk(first.audio[:cut], first.offset_s, cut_s))
            unsent[0] = Chunk(first.audio[cut:], cut_s, first.end_s)
        self._kept = deque([*kept, *unsent])
        self._unsent = len(unsent)

    def _forget(self, played_s: float) -> None:
        while len(self._kept) > self._unsent and self._kept[0].end_s < played_s - _KEPT_S:
            self._kept.popleft()

    # What was said

    def heard_by(self, now: float) -> str:
        """The text that the user has heard: as the client says, or else as the clock does."""
        return self.heard(self.played_s(now) if self._reported_s is None else self._reported_s)

    def heard(self, played_s: float) -> str:
        """The text that was heard once so many seconds of audio were played; words cut in the middle do not count."""
        heard: list[str] = []
        for segment in self._segments:
            played_of_it_s = played_s - segment.start_s
            if segment.whole and played_of_it_s >= segment.audio_s - _ROUNDING_S:
                heard.append(segment.text)
                continue
            if segment.words and played_of_it_s > 0:
                said = [last for _, last, _, ends_s in segment.words if ends_s <= played_of_it_s]
                heard.append(segment.text[: max(said, default=0)])
            elif segment.audio_s > 0 and played_of_it_s > 0:
                heard.append(_words_within(segment.text, self._share(segment, played_of_it_s)))
            break
        return " ".join(text for text in heard if text)

    def being_said(self, until_s: float) -> tuple[int, str, int]:
        """The segment (0, 1, …) that is being said at this offset, its text, and how many of its characters have been
        said by then, the word that is being said included.
        """
        at = max((at for at, segment in enumerate(self._segments) if segment.start_s < until_s), default=0)
        segment = self._segments[at]
        said_s = until_s - segment.start_s
        if segment.whole and said_s >= segment.audio_s - _ROUNDING_S:
            return at, segment.text, len(segment.text)
        if segment.words:
            begun = [last for _, last, begins_s, _ in segment.words if begins_s < said_s]
            return at, segment.text, max(begun, default=0)
        characters = int(len(segment.text) * self._share(segment, said_s))
        end = segment.text.find(" ", characters)
        return at, segment.text, len(segment.text) if end < 0 else end

    def lately(self, at_s: float) -> str:
        """The text of the segment that is being said at this offset, and of the one before."""
        begun = [segment.text for segment in self._segments if segment.start_s <= at_s]
        return " ".join(begun[-2:])

    def _share(self, segment: _Spoken, played_s: float) -> float:
        """The share of a segment's text that so much of its audio holds; words take time in proportion to their
        length. Of a segment still being synthesized, the whole length is guessed from the pace of those before.
        """
        if segment.whole:
            return min(1.0, played_s / segment.audio_s)
        done = [other for other in self._segments if other.whole and other.audio_s > 0]
        characters, audio_s = sum(len(other.text) for other in done), sum(other.audio_s for other in done)
        pace = characters / audio_s if audio_s else _CHARACTERS_PER_SECOND
        return min(1.0, min(played_s, segment.audio_s) * pace / max(1, len(segment.text)))


_ROUNDING_S = 1e-6
_CHARACTERS_PER_SECOND = 15.0
"""Of unhurried English speech: 150 words a minute of six characters each."""


def _words_within(text: str, share: float) -> str:
    """The whole words in the first share (0 to 1) of a text."""
    if share >= 1.0:
        return text
    limit = int(len(text) * share)
    cut = text[:limit]
    if limit < len(text) and not text[limit].isspace():
        cut = cut.rpartition(" ")[0]
    return cut.rstrip()
