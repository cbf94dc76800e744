"""When a moment of a stream of audio arrived: offsets in a stream to times of this process."""

from collections import deque

_KEPT = 4096
"""Arrivals remembered: over a minute of 20 ms frames, longer than any endpointing wait."""


class AudioClock:
    """Remembers when each stretch of a stream arrived; pure, told the time."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self.total_s = 0.0

    def arrived(self, audio_s: float, at: float) -> None:
        """So many more seconds of audio arrived at this time."""
        self.total_s += audio_s
        self._arrivals.append((self.total_s, at))

    def when(self, offset_s: float, now: float) -> float:
        """The time at which the audio up to this offset had arrived; `now` where it is not known any more."""
        found = now
        for end_s, at in reversed(self._arrivals):
            if end_s < offset_s:
                break
            found = at
        return found
