"""One thread that owns a model: blocking work runs there, results come back to the event loop."""

import asyncio
import contextlib
import itertools
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Generic, TypeVar

from services.common.errors import OverloadedError, ServerDrainingError

T = TypeVar("T")
_END = object()


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
    """A callable with its place in the order: lower priority first, then first come, first served.

    `fail` tells whoever waits for it that it will not be done.
    """

    def __init__(
        self,
        priority: float,
        serial: int,
        run: Callable[[], None] | None,
        fail: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.order = (priority, serial)
        self.run = run
        self.fail = fail

    def __lt__(self, other: "_Job") -> bool:
        return self.order < other.order


class ModelThread:
    """Runs blocking work on one named thread, so that a model is only ever touched by the thread that loaded it.

    Work of a lower `priority` number goes first. Cancelling the awaiting task drops work that has not begun, and raises
    the `Stop` of work that has. `aclose` ends the thread after the work in progress; whoever waits for work that has
    not begun gets a ServerDrainingError. A model that several threads may use at a time may have several `workers`.
    """

    def __init__(self, name: str, workers: int = 1) -> None:
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._serial = itertools.count()
        self._closed = False
        self._threads = [threading.Thread(target=self._main, name=name, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[..., T], *args: Any, priority: float = 0) -> T:
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

        self._submit(job, lambda error: _fail(future, error), priority)
        return await future

    def stream(
        self, work: Callable[[Stop], Iterator[T]], *, priority: float = 0, ahead: int = 4096
    ) -> AsyncGenerator[T, None]:
        """Run the generator `work(stop)` on the thread and yield its items, as `stream_pushed` does.

        The generator is closed on its own thread.
        """

        def push(stop: Stop, put: Callable[[T], bool]) -> None:
            with contextlib.closing(_generator(work(stop))) as results:
                for item in results:
                    if stop or not put(item):
                        return

        return self.stream_pushed(push, priority=priority, ahead=ahead)

    async def stream_pushed(
        self, work: Callable[[Stop, Callable[[T], bool]], object], *, priority: float = 0, ahead: int = 4096
    ) -> AsyncGenerator[T, None]:
        """Run `work(stop, put)` on the thread and yield the items that it puts, for work that calls back.

        The thread never waits for a reader, since others wait for the thread: a reader that falls more than `ahead`
        items behind gets an OverloadedError, and `put` returns False. Leaving the loop (break, cancel, an exception)
        raises `stop`. Close the iterator with `contextlib.aclosing`: a bare `break` leaves that to the garbage
        collector.
        """
        items: _Channel[T] = _Channel(asyncio.get_running_loop(), ahead)

        def job() -> None:
            if items.stop:
                return
            try:
                work(items.stop, items.put)
            except BaseException as error:  # noqa: BLE001  it belongs to whoever iterates
                items.end(error)
            else:
                items.end(None)

        self._submit(job, items.end, priority)
        try:
            while (item := await items.get()) is not _END:
                yield item
        finally:
            items.stop.set()

    async def aclose(self) -> None:
        """End the thread once the work in progress is done; work that has not begun is dropped."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(_Job(-1_000_000, next(self._serial), None))
        for thread in self._threads:
            while thread.is_alive():
                await asyncio.to_thread(thread.join, 1.0)
        while not self._jobs.empty():
            self._jobs.get_nowait().fail(ServerDrainingError("the server is shutting down", retry_after_s=1.0))

    def _submit(self, job: Callable[[], None], fail: Callable[[BaseException], object], priority: float) -> None:
        if self._closed:
            raise RuntimeError("the model thread is closed")
        self._jobs.put(_Job(priority, next(self._serial), job, fail))

    def _main(self) -> None:
        while (job := self._jobs.get()).run is not None:
            job.run()


class _Channel(Generic[T]):
    """Items from a thread to the event loop: bounded, ended once, abandoned by either side."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int) -> None:
        self.stop = Stop()
        self._loop = loop
        self._ahead = ahead
        self._items: asyncio.Queue[tuple[Any, BaseException | None]] = asyncio.Queue()
        # Items are counted where they begin and end: those on their way to a busy loop lag, too.
        self._handed_over = 0
        self._taken = 0

    def put(self, item: T) -> bool:
        """From the thread: hand over; False once the reader has gone or lags too far behind."""
        if self.stop:
            return False
        if self._handed_over - self._taken >= self._ahead:
            self.stop.set()
            self.end(OverloadedError("the stream is read too slowly"))
            return False
        self._handed_over += 1
        return _to_loop(self._loop, self._items.put_nowait, (item, None))

    def end(self, error: BaseException | None) -> None:
        """From the thread: nothing follows."""
        _to_loop(self._loop, self._items.put_nowait, (_END, error))

    async def get(self) -> Any:
        """From the loop: the next item, `_END` after the last, or the error that ended them."""
        item, error = await self._items.get()
        self._taken += 1
        if error is not None:
            raise _raisable(error)
        return item


def _generator(items: Iterator[T]) -> Any:
    """The iterator as something that `contextlib.closing` can close."""
    return items if hasattr(items, "close") else (item for item in items)


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(_raisable(error))


def _raisable(error: BaseException) -> BaseException:
    """A StopIteration cannot be raised through a coroutine, nor set on a future: its reader would wait for ever."""
    return RuntimeError("the work ran out of items") if isinstance(error, StopIteration) else error


def _to_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: object) -> bool:
    """Schedule a call on the loop; False where the loop has been closed, so that nobody waits for the result."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        return False
    return True
