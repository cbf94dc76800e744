"""First tokens of conversations that stay at their replica of the embedded model, and of those that do not.

Two language model services share their conversations in Redis. The same conversations are held over a channel without
affinity and over one with it; then each has a turn at the replica that does not know it, as when its own is gone.

python -m benchmarks.affinity [--conversations 4] [--turns 10]
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from typing import Any

import grpc
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from benchmarks.report import milliseconds, save, show
from cli.plan import EMBEDDED_MODEL, EMBEDDED_SPEED
from services.common import logs
from services.common.channel import id_metadata, open_channel
from tests.support.redis_server import redis_server
from tests.support.servers import RunningServer, running

FIRST_MEASURED = 3
"""Before that turn a conversation is too short for its place to matter."""
_ASIDE = "I was thinking about it on my way home today and could not remember what you told me the last time."
_TOPICS = ("the sea", "old trains", "bread", "the moon", "chess", "rain", "gardens", "bicycles", "clouds", "tea")


class Client:
    """Conversations over one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._models = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        self._conversations: Any = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def create(self, name: str) -> None:
        """Start one."""
        with logs.ids(conversation_id=name):
            request = conversation_service_pb2.CreateConversationRequest(conversation_id=name)
            await self._conversations.CreateConversation(request, metadata=id_metadata(), wait_for_ready=True)

    async def turn(self, name: str, number: int) -> tuple[float, int]:
        """Ask; returns seconds to the first token, and how many tokens of the context were not read anew."""
        said = (
            f"This is {name}. Now tell me something about {_TOPICS[number % len(_TOPICS)]}, number {number}. {_ASIDE}"
        )
        request = llm_service_pb2.GenerateRequest(
            conversation_id=name,
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=said)])],
        )
        begun, first_s, cached = time.monotonic(), 0.0, 0
        with logs.ids(conversation_id=name):
            async for response in self._models.Generate(request, metadata=id_metadata()):
                if not first_s and response.WhichOneof("event") == "text_delta":
                    first_s = time.monotonic() - begun
                if response.WhichOneof("event") == "completed":
                    cached = response.completed.usage.cached_input_tokens
        return first_s, cached


async def hold(clients: dict[str, Client], conversations: int, turns: int) -> dict[str, list[tuple[float, int]]]:
    """Several conversations with each client, a turn of each after another; the later turns of each client's."""
    names = {way: [f"{way}_{number}" for number in range(conversations)] for way in clients}
    found: dict[str, list[tuple[float, int]]] = {way: [] for way in clients}
    for way, client in clients.items():
        for name in names[way]:
            await client.create(name)
    for number in range(turns):
        for way, client in clients.items():
            answers = [await client.turn(name, number) for name in names[way]]
            found[way] += answers if number >= FIRST_MEASURED else []
    return found


async def main() -> None:
    """Hold the conversations both ways, kill a replica, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=4)
    parser.add_argument("--turns", type=int, default=10)
    args = parser.parse_args()
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        chosen = {"model_name": EMBEDDED_MODEL, **EMBEDDED_SPEED, "llm_gen_max_new_tokens": "24"}
        flags = ("--llm_backend=transformers", *(f"--{name}={value}" for name, value in chosen.items()))
        store = f"--conversation_store={redis.address}"
        pair: list[RunningServer] = [await stack.enter_async_context(running("llm", *flags, store)) for _ in range(2)]
        target = f"ipv4:{','.join(replica.address for replica in pair)}"
        channels = {"in_turn": open_channel(target), "affinity": open_channel(target, affinity=True)}
        clients = {way: Client(await stack.enter_async_context(channel)) for way, channel in channels.items()}
        found = await hold(clients, args.conversations, args.turns)
        direct = [Client(await stack.enter_async_context(open_channel(replica.address))) for replica in pair]
        names = [f"affinity_{number}" for number in range(args.conversations)]
        at = [await client.turn(name, args.turns) for name in names for client in direct]
        known = statistics.median(cached for _, cached in found["affinity"]) / 2
        found["moved"] = [(first_s, cached) for first_s, cached in at if cached < known]
    figures: dict[str, Any] = {
        way: {
            "first_token_ms": milliseconds([first_s for first_s, _ in answers]),
            "cached_tokens": round(statistics.median(cached for _, cached in answers)),
        }
        for way, answers in found.items()
    }
    medians = {way: figure["first_token_ms"]["median"] for way, figure in figures.items()}
    ratio = round(medians["in_turn"] / medians["affinity"], 2)
    rows = [[way, *figure["first_token_ms"].values(), figure["cached_tokens"]] for way, figure in figures.items()]
    show("First token (ms)", ["conversations", "median", "p90", "min", "max", "tokens known"], rows)
    print(f"in turn / affinity: {ratio}")
    save("affinity", {"conversations": args.conversations, "turns": args.turns, "figures": figures, "ratio": ratio})


if __name__ == "__main__":
    asyncio.run(main())
