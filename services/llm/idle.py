"""Background work on a model: it runs while no turn wants the model's time, and gives way at once to one that does."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Idle:
    """Turns say that they are there; background work waits until few enough are.

    Args:
        busy_at: turns from which on there is no room for anything else: 1 for a model in this process, whose every step
            would slow them; the number of requests it works on at a time for a server elsewhere.
    """

    def __init__(self, busy_at: int) -> None:
        self._busy_at = busy_at
        self._turns = 0
        self._free = asyncio.Event()
        self._free.set()
        self._working: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> None:
        """A turn begins: it does not wait for background work, which is stopped where there is no room for both."""
        self._turns += 1
        if self._turns >= self._busy_at:
            self._free.clear()
            for task in self._working:
                task.cancel()

    def __exit__(self, *_: object) -> None:
        self._turns -= 1
        if self._turns < self._busy_at:
            self._free.set()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do background work, from its beginning as often as it has to give way."""
        while True:
            await self._free.wait()
            task = asyncio.create_task(work())
            self._working.add(task)
            try:
                await asyncio.wait((task,))
            finally:
                self._working.discard(task)
                if not task.done():  # our own cancellation
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():
                return task.result()
