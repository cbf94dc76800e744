"""Background work on a model: it runs while no turn wants the model's time, and gives way at once to one that does."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services.common.errors import ParleyError

log = logging.getLogger(__name__)

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

    def try_once(self, work: Coroutine[Any, Any, object]) -> None:
        """Begin background work where there is room for it now; once it has given way it is not begun again."""
        if not self._free.is_set():
            work.close()
            return
        # Not a part of the turn's trace, nor of its log.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._working.add(task)
        task.add_done_callback(self._tried)

    async def aclose(self) -> None:
        """Stop what is being tried, and wait for its end."""
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    def _tried(self, task: asyncio.Task[Any]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()):
            # A conversation may be deleted meanwhile, a server shut down.
            log.log(logging.DEBUG if isinstance(error, ParleyError) else logging.WARNING, "not done", exc_info=error)
