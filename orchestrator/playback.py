"""What the user has heard of a response: pure bookkeeping of the text and the audio that were sent."""

from dataclasses import dataclass, field


@dataclass
class _Spoken:
    text: str
    audio_s: float = 0.0
    whole: bool = False


@dataclass
class Playback:
    """Follows the segments of one response as their audio is sent.

    The client plays from the first audio on, at the speed of speech; within a segment, words take time in proportion to
    their length, which is right to about a word.
    """

    _segments: list[_Spoken] = field(default_factory=list)
    _first_audio_at: float | None = None

    @property
    def sent_s(self) -> float:
        """Seconds of audio sent."""
        return sum(segment.audio_s for segment in self._segments)

    def begin_segment(self, text: str) -> None:
        """The audio that follows speaks this text."""
        self._segments.append(_Spoken(text))

    def sent(self, audio_s: float, at: float) -> None:
        """So many seconds of audio of the segment that was begun last were sent at this time."""
        if self._first_audio_at is None:
            self._first_audio_at = at
        self._segments[-1].audio_s += audio_s

    def end_segment(self) -> None:
        """All audio of the segment that was begun last has been sent."""
        self._segments[-1].whole = True

    def played_s(self, now: float) -> float:
        """Seconds of audio that a client playing without a pause has played by now."""
        return 0.0 if self._first_audio_at is None else min(self.sent_s, now - self._first_audio_at)

    def heard(self, played_s: float) -> str:
        """The text that was heard once so many seconds of audio were played; words cut in the middle do not count."""
        heard: list[str] = []
        for segment in self._segments:
            if played_s >= segment.audio_s and segment.whole:
                heard.append(segment.text)
                played_s -= segment.audio_s
                continue
            if segment.audio_s > 0:
                # Of a segment that is still being synthesized, the audio sent so far is taken to hold its first words.
                share = min(1.0, played_s / segment.audio_s)
                heard.append(_words_within(segment.text, share * self._known_share(segment)))
            break
        return " ".join(text for text in heard if text)

    def _known_share(self, segment: _Spoken) -> float:
        """The share of its text that the audio sent so far holds: all, or guessed from the pace of whole segments."""
        if segment.whole:
            return 1.0
        whole = [done for done in self._segments if done.whole and done.audio_s > 0]
        characters, seconds = sum(len(done.text) for done in whole), sum(done.audio_s for done in whole)
        pace = characters / seconds if seconds else _CHARACTERS_PER_SECOND
        return min(1.0, segment.audio_s * pace / max(1, len(segment.text)))


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
