"""The three clocks of a request to a provider: until the first token, from token to token, in all."""

import asyncio
from dataclasses import dataclass

from services.common.errors import UpstreamTimeoutError
from services.llm.backends.api.failures import ProviderFailure

_LAST_WORD_S = 1.0
"""Seconds that the count of tokens may come after the end of the answer."""


@dataclass(frozen=True)
class Limits:
    """Seconds: until the first token, from token to token, for the whole answer."""

    first_token_s: float
    idle_s: float
    total_s: float


class Clocks:
    """Run from the moment they are made, over all tries. What is no token (comments, keep-alives) does not wind them.

    Args:
        limits: how long each runs.
        whole: the answer comes in one piece, so that only the clock for all of it counts.
    """

    def __init__(self, limits: Limits, *, whole: bool = False) -> None:
        self._limits = limits
        self._now = asyncio.get_running_loop().time
        begun = self._now()
        self._ends = begun + limits.total_s
        self._due = self._ends if whole else begun + limits.first_token_s
        self._what, self._limit_s = "has sent no token", limits.first_token_s

    @property
    def deadline(self) -> float:
        """When, on the loop's clock, the wait is over."""
        return min(self._due, self._ends)

    @property
    def left_s(self) -> float:
        """Seconds until then."""
        return self.deadline - self._now()

    def token(self) -> None:
        """A token has come."""
        self._due = self._now() + self._limits.idle_s
        self._what, self._limit_s = "has sent no further token", self._limits.idle_s

    def last_word(self) -> None:
        """The answer is whole; what may follow is its count of tokens."""
        self._due = min(self._due, self._now() + _LAST_WORD_S)

    def failure(self) -> ProviderFailure:
        """What it means that the deadline has passed."""
        what, limit_s = self._what, self._limit_s
        if self._ends <= self._due:
            what, limit_s = "has not finished the answer", self._limits.total_s
        return ProviderFailure(UpstreamTimeoutError(f"the provider {what} within {limit_s:g} s", retry_after_s=1.0))
