"""A bounded number at work, a bounded number waiting, the rest refused."""

import asyncio
import contextlib

import pytest

from services.common.admission import AdmissionQueue
from services.common.errors import OverloadedError


async def hold(queue: AdmissionQueue, until: asyncio.Event, order: list[str], name: str) -> float:
    async with queue.admit() as waited_s:
        order.append(name)
        await until.wait()
    return waited_s


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_wait_in_order_and_one_too_many_is_refused_at_once() -> None:
    queue = AdmissionQueue("generations", running=1, waiting=2, retry_after_s=3.0)
    gates = [asyncio.Event() for _ in range(3)]
    order: list[str] = []
    tasks = [asyncio.create_task(hold(queue, gate, order, str(index))) for index, gate in enumerate(gates)]
    await settle()
    assert (order, queue.running, queue.waiting) == (["0"], 1, 2)

    with pytest.raises(OverloadedError, match="too many generations at once") as caught:
        await hold(queue, gates[0], order, "refused")
    assert 3.0 <= (caught.value.retry_after_s or 0) <= 6.0

    for index, gate in enumerate(gates):
        gate.set()
        await settle()
        assert order == ["0", "1", "2"][: index + 2]
    assert await asyncio.gather(*tasks) == pytest.approx([0, 0, 0], abs=5)
    assert (queue.running, queue.waiting) == (0, 0)


async def test_a_queue_without_waiting_room_refuses_as_soon_as_it_is_busy() -> None:
    queue = AdmissionQueue("x", running=1, waiting=0)
    async with queue.admit():
        with pytest.raises(OverloadedError):
            await queue.admit().__aenter__()
    async with queue.admit():
        assert queue.running == 1


async def test_giving_up_while_waiting_frees_the_place_in_the_line() -> None:
    queue = AdmissionQueue("x", running=1, waiting=1)
    gate, order = asyncio.Event(), []
    first = asyncio.create_task(hold(queue, gate, order, "first"))
    second = asyncio.create_task(hold(queue, gate, order, "second"))
    await settle()
    second.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await second
    assert queue.waiting == 0
    third = asyncio.create_task(hold(queue, gate, order, "third"))
    await settle()
    gate.set()
    await asyncio.gather(first, third)
    assert order == ["first", "third"]


async def test_a_failure_at_work_frees_the_place() -> None:
    queue = AdmissionQueue("x", running=1, waiting=0)
    with pytest.raises(ValueError, match="broke"):
        async with queue.admit():
            raise ValueError("broke")
    async with queue.admit():
        assert queue.running == 1
