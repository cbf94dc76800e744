"""Every method of the four programs, called with hostile messages in any order: never INTERNAL, always a reason."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fuzz import rpc
from tests.support.stack import fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def player() -> AsyncIterator[rpc.Player]:
    """The four programs on fakes."""
    async with fake_stack(**rpc.FLAGS) as servers:
        player = rpc.Player(servers)
        yield player
        player.close()


async def test_calls_that_once_broke_a_rule_break_none(player: rpc.Player) -> None:
    for path in sorted(rpc.CALLS.glob("*.json")):
        await asyncio.to_thread(player.play, rpc.Call.read(path))


async def test_drawn_calls_break_no_rule(player: rpc.Player) -> None:
    await asyncio.to_thread(rpc.check, player, 150)
