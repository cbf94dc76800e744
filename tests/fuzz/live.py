"""Four running programs on fakes, called over gRPC and by Realtime clients in turn."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping

from tests.fuzz import realtime, rpc
from tests.fuzz.rules import FLAGS
from tests.support.servers import RunningServer
from tests.support.stack import fake_stack


def fuzz(seconds: float, seed: int) -> tuple[int, int]:
    """Call them for so long, once they run; returns how many calls there were, and how many Realtime sessions.

    Raises:
        AssertionError: a rule is broken, with the smallest input that does it.
    """

    async def run() -> tuple[int, int]:
        async with fake_stack(**FLAGS) as servers:
            return await asyncio.to_thread(_play, servers, seconds, seed)

    return asyncio.run(run())


def _play(servers: Mapping[str, RunningServer], seconds: float, seed: int) -> tuple[int, int]:
    until, clients = time.monotonic() + seconds, realtime.Player(servers)
    with contextlib.closing(rpc.Player(servers)) as callers:
        for number in itertools.count(seed):
            if time.monotonic() >= until:
                break
            rpc.check(callers, 50, seed=number)
            realtime.check(clients, 50, seed=number)
        return callers.played, clients.played
