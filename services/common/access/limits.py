"""What a caller may use, and what it has used. Pure: the time is told.

Counts are this process's: with several replicas behind a balancer a caller may use as much at each of them.
"""

from dataclasses import dataclass

from services.common.errors import QuotaExceededError

_MINUTE_S, _DAY_S = 60.0, 86_400.0
_RETRY_SESSION_S = 5.0
"""When a session ends is not known; so long a client may wait before it tries again."""


@dataclass(frozen=True)
class Limits:
    """0 is no limit.

    Attributes:
        sessions: calls at a time.
        requests_per_minute: calls, and responses asked for within a session.
        audio_seconds_per_day: of audio that the caller sends.
    """

    sessions: int = 0
    requests_per_minute: int = 0
    audio_seconds_per_day: float = 0.0

    def over(self, defaults: "Limits") -> "Limits":
        """These, with the defaults where there is no limit."""
        return Limits(
            self.sessions or defaults.sessions,
            self.requests_per_minute or defaults.requests_per_minute,
            self.audio_seconds_per_day or defaults.audio_seconds_per_day,
        )


class Usage:
    """What one caller uses. A minute, and a day, begins with the first use after the last one has ended."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.sessions = 0
        self._requests, self._audio = _Window(_MINUTE_S), _Window(_DAY_S)

    def enter(self) -> None:
        """A call begins; `leave` ends it.

        Raises:
            QuotaExceededError: there are as many as may be.
        """
        if self.limits.sessions and self.sessions >= self.limits.sessions:
            message = f"{self.limits.sessions} sessions at a time are what this token may have"
            raise QuotaExceededError(message, retry_after_s=_RETRY_SESSION_S)
        self.sessions += 1

    def leave(self) -> None:
        """A call has ended."""
        self.sessions -= 1

    def request(self, now: float) -> None:
        """Count a request, at a time in seconds. Raises QuotaExceededError where it is one too many."""
        self._requests.take(1, self.limits.requests_per_minute, "requests a minute", now)

    def audio(self, seconds: float, now: float) -> None:
        """Count audio. Raises QuotaExceededError where it is too much."""
        self._audio.take(seconds, self.limits.audio_seconds_per_day, "seconds of audio a day", now)

    def is_idle(self, now: float) -> bool:
        """Whether nothing of it counts any more."""
        return not self.sessions and self._requests.is_over(now) and self._audio.is_over(now)


class _Window:
    def __init__(self, length_s: float) -> None:
        self._length_s, self._ends_at, self._used = length_s, 0.0, 0.0

    def is_over(self, now: float) -> bool:
        return now >= self._ends_at

    def take(self, amount: float, limit: float, what: str, now: float) -> None:
        if self.is_over(now):
            self._ends_at, self._used = now + self._length_s, 0.0
        if limit and self._used + amount > limit:
            message = f"{limit:g} {what} are what this token may have"
            raise QuotaExceededError(message, retry_after_s=self._ends_at - now)
        self._used += amount
