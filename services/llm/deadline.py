"""A timer that is started again and again."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls back once, when a span has passed since it was last started and it was not stopped.

    Args:
        span_s: seconds; 0 never calls.
        passed: called on the event loop.
    """

    def __init__(self, span_s: float, passed: Callable[[], None]) -> None:
        self._span_s = span_s
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The span begins now."""
        self.stop()
        if self._span_s:
            self._timer = self._loop.call_later(self._span_s, self._passed)

    def stop(self) -> None:
        """What it waits for has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
