"""Ends what goes on too long: sessions that are idle or old, and calls whose client no longer reads; and, while the
server shuts down, each session as soon as nothing happens in it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from orchestrator import clock
from services.common.errors import OverloadedError, ParleyError, ServerDrainingError

log = logging.getLogger(__name__)

INTERVAL_S = 1.0


@dataclass(frozen=True)
class Limits:
    """Seconds; 0 is no limit.

    Attributes:
        idle_s: nobody has spoken or asked for anything, though audio may have come.
        length_s: of a session.
        unread_s: a client has not taken what it was sent.
    """

    idle_s: float = 0.0
    length_s: float = 0.0
    unread_s: float = 0.0


class Watched(Protocol):
    """A session."""

    @property
    def idle_since(self) -> float | None:
        """Since when nothing has happened; None while something does."""

    def end(self, error: ParleyError) -> None:
        """End it with this error."""


class Guard:
    """One call being watched; say when its client is handed something, and when it has taken it.

    Args:
        drop: ends the call although what it is sending is not taken.
    """

    def __init__(self, drop: Callable[[ParleyError], None], session: Watched | None, now: float) -> None:
        self._drop, self._session, self._opened_at = drop, session, now
        self._handed_at: float | None = None

    def handed(self) -> None:
        """The client is being sent something."""
        self._handed_at = clock.now()

    def taken(self) -> None:
        """It has been sent."""
        self._handed_at = None

    def check(self, limits: Limits, now: float) -> None:
        """End the call where it is over a limit."""
        if _over(limits.unread_s, self._handed_at, now):
            log.warning("client does not read")
            self._handed_at = None
            self._drop(OverloadedError(f"the client has not read for {limits.unread_s:g} s", retry_after_s=0.0))
        elif self._session is not None and _over(limits.length_s, self._opened_at, now):
            self._session.end(OverloadedError(f"sessions end after {limits.length_s:g} s", retry_after_s=0.0))
        elif self._session is not None and _over(limits.idle_s, self._session.idle_since, now):
            self._session.end(OverloadedError(f"nothing was said for {limits.idle_s:g} s", retry_after_s=0.0))

    def leave(self) -> None:
        """End the session where nothing happens in it: its client goes on with the conversation at another server."""
        if self._session is not None and self._session.idle_since is not None:
            self._session.end(ServerDrainingError("the server is shutting down", retry_after_s=0.0))


class Watchdog:
    """Looks at all calls once a second."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._guards: set[Guard] = set()
        self._draining = False

    @contextlib.contextmanager
    def watch(self, drop: Callable[[ParleyError], None], session: Watched | None = None) -> Iterator[Guard]:
        """Watch a call."""
        guard = Guard(drop, session, clock.now())
        self._guards.add(guard)
        try:
            yield guard
        finally:
            self._guards.discard(guard)

    def drain(self) -> None:
        """The server shuts down: sessions end between two turns from now on, those in which nothing happens at once."""
        self._draining = True
        self._look()

    async def run(self) -> None:
        """Ends by cancellation."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            self._look()

    def _look(self) -> None:
        now = clock.now()
        for guard in tuple(self._guards):
            guard.check(self._limits, now)
            if self._draining:
                guard.leave()


def _over(limit_s: float, since: float | None, now: float) -> bool:
    return bool(limit_s) and since is not None and now - since >= limit_s
