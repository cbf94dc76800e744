"""One thread that owns a model: blocking work runs there, results come back to the event loop."""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from services.common.errors import OverloadedError

T = TypeVar("T")


class Stop:
    """A flag that a consumer raises and blocking work reads between two steps."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask the work to end."""
        self._set = True

    def __bool__(self) -> bool:
        return self._set


class _Job:
    """A callable with its place in the order: lower priority first, then first come, first served."""

    def __init__(self, priority: int, serial: int, run: Callable[[], None] | None) -> None:
        self.order = (priority, serial)
        self.run = run

    def __lt__(self, other: "_Job") -> bool:
        return self.order < other.order


class ModelThread:
    """Runs blocking work on one named thread, so that a model is only ever touched by the thread that loaded it.

    Work of a lower `priority` number goes first. Cancelling the awaiting task drops work that has not begun, and raises
    the `Stop` of work that has. `aclose` ends the thread after the work in progress.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._serial = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[..., T], *args: Any, priority: int = 0) -> T:
        """Call `work(*args)` on the thread and return what it returns or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = work(*args)
            except BaseException as error:  # noqa: BLE001  it belongs to whoever awaits
                _to_loop(loop, _fail, future, error)
            else:
                _to_loop(loop, _settle, future, result)

        self._submit(job, priority)
        return await future

    async def stream(
        self, work: Callable[[Stop], Iterator[T]], *, priority: int = 0, ahead: int = 4096
    ) -> AsyncIterator[T]:
        """Run the generator `work(stop)` on the thread and yield its items.

        The thread never waits for a reader, since others wait for the thread: a reader that falls more than `ahead`
        items behind gets an OverloadedError. Leaving the loop (break, cancel, an exception) raises `stop`; the
        generator is closed on its own thread. Close the iterator with `contextlib.aclosing`: a bare `break` leaves that
        to the garbage collector.
        """
        items: _Channel[T] = _Channel(asyncio.get_running_loop(), ahead)

        def job() -> None:
            if items.stop:
                return
            try:
                with contextlib.closing(_generator(work(items.stop))) as results:
                    for item in results:
                        if items.stop or not items.put(item):
                            return
            except BaseException as error:  # noqa: BLE001  it belongs to whoever iterates
                items.end(error)
            else:
                items.end(None)

        self._submit(job, priority)
        try:
            async for item in items:
                yield item
        finally:
            items.stop.set()

    async def aclose(self) -> None:
        """End the thread once the work in progress is done; work that has not begun is dropped."""
        if not self._closed:
            self._closed = True
            self._jobs.put(_Job(-1_000_000, next(self._serial), None))
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 1.0)

    def _submit(self, job: Callable[[], None], priority: int) -> None:
        if self._closed:
            raise RuntimeError("the model thread is closed")
        self._jobs.put(_Job(priority, next(self._serial), job))

    def _main(self) -> None:
        while (job := self._jobs.get()).run is not None:
            job.run()


class _Channel(Generic[T]):
    """Items from a thread to the event loop: bounded, ended once, abandoned by either side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int) -> None:
        self.stop = Stop()
        self._loop = loop
        self._ahead = ahead
        self._items: asyncio.Queue[tuple[T | None, bool, BaseException | None]] = asyncio.Queue()

    def put(self, item: T) -> bool:
        """From the thread: hand over; False once the reader has gone or lags too far behind."""
        if self._items.qsize() >= self._ahead:
            self.end(OverloadedError("the stream is read too slowly"))
            return False
        return _to_loop(self._loop, self._items.put_nowait, (item, False, None))

    def end(self, error: BaseException | None) -> None:
        """From the thread: nothing follows."""
        _to_loop(self._loop, self._items.put_nowait, (None, True, error))

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            item, ended, error = await self._items.get()
            if error is not None:
                raise error
            if ended:
                return
            yield item  # type: ignore[misc]


def _generator(items: Iterator[T]) -> Any:
    """The iterator as something that `contextlib.closing` can close."""
    return items if hasattr(items, "close") else (item for item in items)


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _to_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> bool:
    """Schedule a call on the loop; False where the loop has been closed, so that nobody waits for the result."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        return False
    return True
