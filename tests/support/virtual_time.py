"""An event loop whose clock does not run: it jumps to the next timer whenever nothing else is to do.

For tests without I/O: a conversation of thirty seconds takes as long as its computing does.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NoWait(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: "VirtualTimeLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if timeout is None and not ready:
            raise RuntimeError("the test waits for something that never happens")
        if timeout and not ready:
            self._loop.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Begins at 1000 seconds."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now += seconds


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, in a loop of its own."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
