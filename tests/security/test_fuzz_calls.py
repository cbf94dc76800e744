"""Every method called with hostile messages, and Realtime clients that send anything: always a reason."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import closing

import pytest
import pytest_asyncio

from tests.fuzz import realtime, rpc
from tests.fuzz.rules import FLAGS
from tests.support.servers import RunningServer
from tests.support.stack import fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[Mapping[str, RunningServer]]:
    """The four programs on fakes."""
    async with fake_stack(**FLAGS) as servers:
        yield servers


async def test_calls_break_no_rule(servers: Mapping[str, RunningServer]) -> None:
    with closing(rpc.Player(servers)) as player:
        for path in sorted(rpc.CALLS.glob("*.json")):  # what once broke one
            await asyncio.to_thread(player.play, rpc.Call.read(path))
        await asyncio.to_thread(rpc.check, player, 150)


async def test_realtime_sessions_break_no_rule(servers: Mapping[str, RunningServer]) -> None:
    player = realtime.Player(servers)
    for path in sorted(realtime.SESSIONS.glob("*.json")):
        await asyncio.to_thread(player.play, realtime.Session.read(path))
    await asyncio.to_thread(realtime.check, player, 100)
