"""Two replicas of a service, or two of those that share one real Redis, on fakes; and turns that find all of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.redis_server import redis_server
from tests.support.servers import RunningServer, running
from tests.support.stack import FAKE_FLAGS, Conversation, conversation


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


@contextlib.asynccontextmanager
async def replicated(name: str, *flags: str) -> AsyncIterator[tuple[str, list[RunningServer]]]:
    """An orchestrator's address, and the two replicas of this one service behind it."""
    async with contextlib.AsyncExitStack() as stack:
        pair = [await stack.enter_async_context(running(name, *FAKE_FLAGS[name], *flags)) for _ in range(2)]
        targets = {name: f"ipv4:{','.join(replica.address for replica in pair)}"}
        for other in FAKE_FLAGS.keys() - {name}:
            targets[other] = (await stack.enter_async_context(running(other, *FAKE_FLAGS[other]))).address
        orchestrator = await stack.enter_async_context(
            running("orchestrator", *(f"--{other}_target={target}" for other, target in targets.items()))
        )
        yield orchestrator.address, pair


async def turn(client: Conversation) -> int:
    """Ask by text; returns the status of the response."""
    await client.write_text("Hello")
    return int((await client.until("response_done")).status)


async def spoken_turn(client: Conversation) -> int:
    """Ask by voice; returns the status of the response, FAILED where the words were lost."""
    await client.append()
    await client.commit()
    ended = await client.until("response_done", "error")
    return int(getattr(ended, "status", pb.RESPONSE_STATUS_FAILED))


async def all_used(address: str, pair: list[RunningServer], ask: Callable[[Conversation], Awaitable[int]]) -> None:
    """Ask in sessions of their own until every replica has served a call: from then on calls take turns over them."""
    served = "parley_rpc_server_duration_seconds_count"
    while not all([served in await replica.metrics_page() for replica in pair]):
        async with conversation(address) as probe:
            await ask(probe)
