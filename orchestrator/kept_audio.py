"""The audio whose words are not known yet: another recognition can hear it where one is lost. Pure."""

from collections import deque

from services.common.audio_format import AudioFormat

MAX_BYTES = 2 << 20
"""A minute of PCM16 at 16 kHz."""
_SLACK_S = 0.25
"""Audio is let go of in pieces of so much, not with every message."""


class KeptAudio:
    """Audio, and where in it the client has ended turns. Places are seconds from the session's first audio.

    Args:
        audio_format: of the audio.
        start_s: where it begins.
    """

    def __init__(self, audio_format: AudioFormat, start_s: float) -> None:
        self._format = audio_format
        self._slack = round(_SLACK_S * audio_format.bytes_per_second)
        self._audio = bytearray()
        self._origin_s = start_s
        self._let_go = 0  # bytes before the audio that is kept
        self._ends: deque[int] = deque()  # bytes from the origin
        self.whole = True
        """Whether nothing had to go for want of room."""

    @property
    def start_s(self) -> float:
        """Where what is kept begins."""
        return self._origin_s + self._let_go / self._format.bytes_per_second

    def add(self, audio: bytes) -> None:
        """More audio; where it is too much, the oldest goes."""
        self._audio += audio
        if len(self._audio) > MAX_BYTES:
            self.whole = False
            self._drop(len(self._audio) - MAX_BYTES + self._format.frame_bytes)

    def turn_ended(self) -> None:
        """The client ends its turn here."""
        self._ends.append(self._let_go + len(self._audio))

    def forget_turn(self) -> None:
        """The words of the oldest turn that the client has ended are known: it and all before go."""
        if self._ends:
            end = self._ends.popleft()
            self.whole = self.whole or self._let_go <= end
            self._drop(end - self._let_go)

    def forget_before(self, place_s: float) -> None:
        """What was said before this need not be heard again, unless it is of a turn that the client has ended."""
        over = int((place_s - self._origin_s) * self._format.bytes_per_second) - self._let_go
        if over < self._slack:
            return
        if self._ends:
            over = min(over, self._ends[0] - self._let_go)
        if over > 0:
            self.whole = True
            self._drop(over)

    def pieces(self) -> list[bytes | None]:
        """What is kept, in order; None where the client has ended a turn."""
        pieces: list[bytes | None] = []
        at = 0
        for end in self._ends:
            end = max(at, end - self._let_go)
            pieces += [bytes(self._audio[at:end]), None]
            at = end
        return [*pieces, bytes(self._audio[at:])]

    def _drop(self, count: int) -> None:
        """Let go of so many bytes from the front, or a few less: whole samples."""
        count = max(0, min(count, len(self._audio)))
        count -= (self._let_go + count) % self._format.frame_bytes
        del self._audio[:count]
        self._let_go += count
