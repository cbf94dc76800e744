"""Background work beside turns."""

import asyncio

import pytest

from services.common.errors import NotFoundError
from services.llm.idle import Idle


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Work:
    """Counts its beginnings, waits for `gate`."""

    def __init__(self) -> None:
        self.begun = 0
        self.stopped = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return "done"


async def test_work_waits_for_the_turn_and_gives_way_to_the_next_one_at_once() -> None:
    idle, work = Idle(1), Work()
    with idle:
        running = asyncio.create_task(idle.run(work))
        await settle()
        assert work.begun == 0
    await settle()
    assert work.begun == 1
    with idle:
        await asyncio.sleep(0)
        assert work.stopped == 1
        await settle()
        assert work.begun == 1
    work.gate.set()
    assert await running == "done"
    assert work.begun == 2


async def test_where_there_is_room_for_both_nothing_waits() -> None:
    idle, work = Idle(2), Work()
    with idle:
        running = asyncio.create_task(idle.run(work))
        await settle()
        assert work.begun == 1
        with idle:
            await settle()
            assert work.stopped == 1
    work.gate.set()
    assert await running == "done"


async def test_work_that_fails_or_is_cancelled_ends() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    idle, work = Idle(1), Work()
    with pytest.raises(ValueError, match="broken"):
        await idle.run(fail)
    running = asyncio.create_task(idle.run(work))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.stopped == 1


async def test_what_is_tried_once_gives_way_and_is_not_begun_again() -> None:
    idle, work = Idle(1), Work()
    with idle:
        idle.try_once(work())
        await settle()
        assert work.begun == 0
    await settle()
    assert work.begun == 0
    idle.try_once(work())
    await settle()
    assert work.begun == 1
    with idle:
        await settle()
        assert work.stopped == 1
    await settle()
    assert work.begun == 1


async def test_what_fails_is_told_in_the_log_and_the_end_stops_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def gone() -> None:
        raise NotFoundError("deleted meanwhile")

    idle, work = Idle(1), Work()
    for tried in (fail(), gone(), work()):
        idle.try_once(tried)
    await settle()
    assert [record.levelname for record in caplog.records if record.name == "services.llm.idle"] == ["WARNING"]
    await idle.aclose()
    assert work.stopped == 1
