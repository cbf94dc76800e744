"""Two orchestrators and two language model services over one real Redis, on fakes; for tests and benchmarks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.support.redis_server import redis_server
from tests.support.servers import RunningServer, running
from tests.support.stack import FAKE_FLAGS


@dataclass
class Replicas:
    """Two orchestrators and two language model services, over one store."""

    orchestrators: list[RunningServer]
    llms: list[RunningServer]


@contextlib.asynccontextmanager
async def replicas(*llm_flags: str) -> AsyncIterator[Replicas]:
    """All of them, running."""
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(redis_server())
        flags = (*FAKE_FLAGS["llm"], f"--conversation_store={store.address}", *llm_flags)

        async def start(name: str, *flags: str) -> RunningServer:
            return await stack.enter_async_context(running(name, *flags))

        first, second, stt, tts = await asyncio.gather(
            start("llm", *flags),
            start("llm", *flags),
            start("stt", *FAKE_FLAGS["stt"]),
            start("tts", *FAKE_FLAGS["tts"]),
        )
        targets = (
            f"--llm_target=ipv4:{first.address},{second.address}",
            f"--stt_target={stt.address}",
            f"--tts_target={tts.address}",
        )
        pair = await asyncio.gather(start("orchestrator", *targets), start("orchestrator", *targets))
        yield Replicas([*pair], [first, second])
