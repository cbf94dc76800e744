"""Admission: a bounded number of requests at work, a bounded number waiting, the rest refused at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from services.common.errors import OverloadedError
from services.common.load import Load, spread

_UNLIMITED = Load(0.0)


class AdmissionQueue:
    """First come, first served places for work; a full queue refuses instead of growing.

    Args:
        what: what is admitted, for the error message ("generations").
        running: requests at work at a time.
        waiting: requests that may wait for a place.
        retry_after_s: least seconds that a refused client is told to wait.
        load: what the process has time for; without it the numbers alone decide.
    """

    def __init__(
        self, what: str, *, running: int, waiting: int, retry_after_s: float = 1.0, load: Load | None = None
    ) -> None:
        self._what = what
        self._waiting_limit = waiting
        self._retry_after_s = retry_after_s
        self._load = load or _UNLIMITED
        self._places = asyncio.Semaphore(running)
        self.running = 0
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def admit(self) -> AsyncIterator[float]:
        """Hold a place; yields the seconds waited for it.

        Raises:
            OverloadedError: at once, where too many wait already, or the process is too busy.
        """
        with self._load.work(self._what):
            async with self._place() as waited_s:
                yield waited_s

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[float]:
        begun = time.monotonic()
        if self._places.locked():
            if self.waiting >= self._waiting_limit:
                raise OverloadedError(f"too many {self._what} at once", retry_after_s=spread(self._retry_after_s))
            self.waiting += 1
            try:
                await self._places.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._places.acquire()
        self.running += 1
        try:
            yield time.monotonic() - begun
        finally:
            self.running -= 1
            self._places.release()
