"""One thread that owns a model."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from services.common.errors import OverloadedError, ServerDrainingError
from services.common.model_thread import ModelThread, Stop


@pytest.fixture
async def thread() -> AsyncIterator[ModelThread]:
    made = ModelThread("model")
    yield made
    await made.aclose()


class Block:
    """Work that holds the thread until it is let go."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.over.wait(30)
        return "done"

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 30)


async def collect(items: AsyncIterator[int], into: list[int]) -> None:
    async for item in items:
        into.append(item)  # noqa: PERF401  what came before an error counts


async def test_all_work_runs_on_the_one_thread_of_that_name(thread: ModelThread) -> None:
    names = {await thread.run(lambda: threading.current_thread().name) for _ in range(3)}
    assert names == {"model"}


async def test_arguments_go_in_and_results_and_errors_come_out(thread: ModelThread) -> None:
    assert await thread.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.run(divmod, 7, 0)
    assert await thread.run(divmod, 9, 2) == (4, 1)


async def test_work_that_runs_out_of_items_fails_instead_of_hanging(thread: ModelThread) -> None:
    with pytest.raises(RuntimeError, match="ran out of items"):
        await asyncio.wait_for(thread.run(next, iter([])), 30)


async def test_the_event_loop_goes_on_while_work_blocks(thread: ModelThread) -> None:
    block = Block()
    task = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    block.over.set()
    assert await task == "done"


async def test_lower_priorities_go_first_and_equals_in_order(thread: ModelThread) -> None:
    block, order = Block(), []
    first = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    tasks = [
        asyncio.create_task(thread.run(order.append, name, priority=priority))
        for name, priority in (("b1", 1), ("a1", 0), ("b2", 1), ("a2", 0))
    ]
    await asyncio.sleep(0)
    block.over.set()
    await asyncio.gather(first, *tasks)
    assert order == ["a1", "a2", "b1", "b2"]


async def test_cancelled_work_that_has_not_begun_is_dropped(thread: ModelThread) -> None:
    block, ran = Block(), []
    first = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    second = asyncio.create_task(thread.run(ran.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    block.over.set()
    await first
    await thread.run(ran.append, "third")
    assert ran == ["third"]


async def test_cancelling_work_in_progress_leaves_the_thread_usable(thread: ModelThread) -> None:
    block = Block()
    task = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    block.over.set()
    assert await thread.run(lambda: "next") == "next"


async def test_a_stream_gives_its_items_in_order_from_the_thread(thread: ModelThread) -> None:
    def count(stop: Stop) -> Iterator[tuple[int, str]]:
        for number in range(5):
            yield number, threading.current_thread().name

    assert [item async for item in thread.stream(count)] == [(number, "model") for number in range(5)]


async def test_work_that_calls_back_is_streamed_alike(thread: ModelThread) -> None:
    taken: list[bool] = []

    def work(stop: Stop, put: Callable[[int], bool]) -> str:
        taken.extend(put(number) for number in range(3))
        return "not an item"

    assert [item async for item in thread.stream_pushed(work)] == [0, 1, 2]
    assert taken == [True, True, True]


async def test_work_that_calls_back_hears_that_its_reader_has_gone(thread: ModelThread) -> None:
    over = threading.Event()
    taken: list[bool] = []

    def work(stop: Stop, put: Callable[[int], bool]) -> None:
        taken.append(put(1))
        assert over.wait(30)
        taken.append(put(2))

    async with contextlib.aclosing(thread.stream_pushed(work)) as items:
        assert await anext(items) == 1
    over.set()
    await thread.run(lambda: None)
    assert taken == [True, False]


async def test_a_stream_may_give_any_iterator_and_any_value(thread: ModelThread) -> None:
    assert [item async for item in thread.stream(lambda stop: iter([None, False, 0]))] == [None, False, 0]


async def test_an_error_in_a_stream_comes_after_its_items_and_the_next_stream_works(thread: ModelThread) -> None:
    def broken(stop: Stop) -> Iterator[int]:
        yield 1
        raise ValueError("the model broke")

    items: list[int] = []
    with pytest.raises(ValueError, match="the model broke"):
        await collect(thread.stream(broken), items)
    assert items == [1]
    assert [item async for item in thread.stream(lambda stop: iter([2]))] == [2]


async def test_leaving_a_stream_stops_its_work_and_closes_it_on_its_thread(thread: ModelThread) -> None:
    closed_on: list[str] = []

    def endless(stop: Stop) -> Iterator[int]:
        number = 0
        try:
            while not stop:
                number += 1
                yield number
        finally:
            closed_on.append(threading.current_thread().name)

    async with contextlib.aclosing(thread.stream(endless, ahead=10**9)) as items:
        async for item in items:
            if item == 3:
                break
    await thread.run(lambda: None)
    assert closed_on == ["model"]


async def test_cancelling_the_reader_stops_the_work(thread: ModelThread) -> None:
    stops: list[Stop] = []

    def endless(stop: Stop) -> Iterator[int]:
        stops.append(stop)
        while not stop:
            yield 1

    first = asyncio.Event()

    async def read() -> None:
        async with contextlib.aclosing(thread.stream(endless, ahead=10**9)) as items:
            async for _ in items:
                first.set()

    reader = asyncio.create_task(read())
    await first.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await thread.run(lambda: bool(stops[0]))


async def test_a_stream_that_was_left_before_it_began_never_begins(thread: ModelThread) -> None:
    block, begun = Block(), []

    def work(stop: Stop) -> Iterator[int]:
        begun.append(True)
        yield 1

    first = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    items = thread.stream(work)
    reader = asyncio.create_task(anext(items))
    await asyncio.sleep(0)
    reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader
    block.over.set()
    await first
    await thread.run(lambda: None)
    assert begun == []


async def test_a_reader_that_lags_too_far_behind_is_cut_off_and_others_are_served(thread: ModelThread) -> None:
    done = threading.Event()

    def fast(stop: Stop) -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            done.set()

    items = thread.stream(fast, ahead=10)
    read = [await anext(items)]
    # The loop runs on, so that what the thread hands over arrives, but nobody reads.
    assert await asyncio.to_thread(done.wait, 30)
    assert await thread.run(lambda: "served") == "served"
    with pytest.raises(OverloadedError, match="read too slowly"):
        await collect(items, read)
    assert read == list(range(len(read)))
    assert len(read) < 1000


async def test_closing_waits_for_work_in_progress_and_tells_those_who_wait() -> None:
    thread, block = ModelThread("model"), Block()
    running = asyncio.create_task(thread.run(block))
    await block.wait_begun()
    waiting = asyncio.create_task(thread.run(lambda: "never"))
    streaming = asyncio.create_task(anext(thread.stream(lambda stop: iter([1]))))
    await asyncio.sleep(0)
    closing = asyncio.create_task(thread.aclose())
    await asyncio.sleep(0)
    block.over.set()
    assert await running == "done"
    await closing
    with pytest.raises(ServerDrainingError):
        await waiting
    with pytest.raises(ServerDrainingError):
        await streaming


async def test_a_closed_thread_is_gone_and_takes_no_work() -> None:
    thread = ModelThread("a model that is closed")
    await thread.aclose()
    await thread.aclose()
    assert "a model that is closed" not in {t.name for t in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        await thread.run(lambda: None)


def test_work_outlives_its_event_loop_without_harm() -> None:
    thread, block = ModelThread("model"), Block()

    async def abandon() -> None:
        task = asyncio.create_task(thread.run(block))
        await block.wait_begun()
        task.cancel()

    asyncio.run(abandon())
    block.over.set()

    async def use_again() -> str:
        result = await thread.run(lambda: "still here")
        await thread.aclose()
        return result

    assert asyncio.run(use_again()) == "still here"
