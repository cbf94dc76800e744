"""What goes on too long is ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from orchestrator import clock
from orchestrator.watchdog import Guard, Limits, Watchdog
from services.common.errors import OverloadedError, ParleyError, ServerDrainingError


@dataclass
class Session:
    idle_since: float | None = None
    ended: ParleyError | None = None
    dropped: ParleyError | None = None

    def end(self, error: ParleyError) -> None:
        self.ended = error

    def drop(self, error: ParleyError) -> None:
        self.dropped = error


@contextlib.asynccontextmanager
async def watched(session: Session, **limits: float) -> AsyncIterator[Guard]:
    watchdog = Watchdog(Limits(**limits))
    running = asyncio.create_task(watchdog.run())
    try:
        with watchdog.watch(session.drop, session) as guard:
            yield guard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_idle_session_ends_and_may_be_opened_again_at_once() -> None:
    session = Session(idle_since=clock.now())
    async with watched(session, idle_s=60):
        await asyncio.sleep(59)
        assert session.ended is None
        await asyncio.sleep(3)
    assert isinstance(session.ended, OverloadedError)
    assert session.ended.retry_after_s == 0.0


async def test_a_session_in_which_something_happens_is_not_idle() -> None:
    session = Session()
    async with watched(session, idle_s=60):
        await asyncio.sleep(600)
    assert session.ended is None


async def test_a_session_ends_after_its_time_whatever_happens() -> None:
    session = Session()
    async with watched(session, length_s=100):
        await asyncio.sleep(99)
        assert session.ended is None
        await asyncio.sleep(3)
    assert isinstance(session.ended, OverloadedError)


async def test_edge_19_a_client_that_does_not_take_what_it_is_sent_is_dropped() -> None:
    session = Session()
    async with watched(session, unread_s=10) as guard:
        guard.handed()
        await asyncio.sleep(9)
        assert session.dropped is None
        await asyncio.sleep(3)
    assert isinstance(session.dropped, OverloadedError)


async def test_edge_19_a_slow_client_is_not_dropped() -> None:
    session = Session()
    async with watched(session, unread_s=10) as guard:
        for _ in range(10):
            guard.handed()
            await asyncio.sleep(8)
            guard.taken()
            await asyncio.sleep(20)
    assert session.dropped is None


async def test_without_limits_nothing_ends() -> None:
    session = Session(idle_since=clock.now())
    async with watched(session) as guard:
        guard.handed()
        await asyncio.sleep(1000)
    assert session.ended is None


async def test_a_server_that_shuts_down_ends_each_session_as_soon_as_nothing_happens_in_it() -> None:
    idle, busy, watchdog = Session(idle_since=clock.now()), Session(), Watchdog(Limits())
    with watchdog.watch(idle.drop, idle), watchdog.watch(busy.drop, busy):
        running = asyncio.create_task(watchdog.run())
        watchdog.drain()
        assert isinstance(idle.ended, ServerDrainingError)
        await asyncio.sleep(100)
        assert busy.ended is None
        busy.idle_since = clock.now()
        await asyncio.sleep(2)
        assert isinstance(busy.ended, ServerDrainingError)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
