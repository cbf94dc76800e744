"""What summaries and the Redis store cost a turn: latency with and without each, side by side.

One real LLM server for each row, with the fake backend (no delay before the first token, then a token each 2 ms; its
answer will do for a summary, too), and one conversation of 200 turns in a window of 30. Timed is what a client waits
for: from its request to the first token, and to the end of the turn. A summary takes as long as a turn, and the pause
between turns is shorter, so that the turn after one that has filled the window runs beside a summary: those are shown
on their own, too. The rows alternate in blocks of 15 turns, with that one in their middle, so that all see the same
machine; after each block the conversation is read, and the most user turns that were found are shown.

    python -m benchmarks.compaction [--turns 200] [--pause_ms 20]
"""

import argparse
import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from parley.common.v1 import chat_pb2
from parley.llm.v1 import llm_service_pb2

from benchmarks.report import milliseconds, save, show
from tests.support.llm_client import LlmClient, client_of, user
from tests.support.redis_server import RedisServer, missing, redis_server
from tests.support.servers import RunningServer, running

WINDOW = 30
ANSWER = (
    "<summary>The user asked one question after another, each about as long as the one before it, and the assistant "
    "answered all of them in the same words. Nothing was promised and nothing is open. The user is patient.</summary>"
)
FLAGS = (
    *("--llm_backend", "fake", "--fake_answer", ANSWER, "--fake_token_ms", "2"),
    *("--chat_size", str(WINDOW), "--metrics_port", "0"),
)
QUESTION = "This is question {} of a long conversation, about as long as what a person says at a time."


@dataclass
class Row:
    """One server, its conversation and what was measured."""

    name: str
    client: LlmClient
    server: RunningServer
    ident: str = ""
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    most_user_turns: int = 0


async def take(row: Row, question: str, sampling: chat_pb2.SamplingOptions | None = None) -> None:
    """One turn, timed."""
    request = llm_service_pb2.GenerateRequest(conversation_id=row.ident, messages=[user(question)], sampling=sampling)
    begun = time.monotonic()
    first = 0.0
    async for event in row.client.models.Generate(request):
        if not first and event.HasField("text_delta"):
            first = time.monotonic() - begun
    row.first.append(first)
    row.whole.append(time.monotonic() - begun)


async def counted(row: Row, *names: str) -> int:
    """The sum of the counters of a server whose lines begin so."""
    text = await row.server.metrics_page()
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(names))


async def main() -> None:
    """Measure every row, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--pause_ms", type=float, default=20)
    args = parser.parse_args()
    kinds: dict[str, tuple[str, ...]] = {
        "memory, eviction": ("--compact_history", "False"),
        "memory, compaction": (),
        "Redis, eviction": ("--compact_history", "False"),
        "Redis, compaction": (),
    }
    async with contextlib.AsyncExitStack() as stack:
        redis: RedisServer | None = None if missing else await stack.enter_async_context(redis_server())
        rows: list[Row] = []
        for name, flags in kinds.items():
            if name.startswith("Redis"):
                if redis is None:
                    print(f"{name}: left out, redis-server is not installed")
                    continue
                flags = (*flags, "--conversation_store", redis.address)
            server = await stack.enter_async_context(running("llm", *FLAGS, *flags))
            client = await stack.enter_async_context(client_of(server.address))
            rows.append(Row(name, client, server))
        for row in rows:
            row.ident = await row.client.create()
        for block in blocks(args.turns):
            for row in rows:
                for number in block:
                    await take(row, QUESTION.format(number))
                    await asyncio.sleep(args.pause_ms / 1000)
                known = await row.client.get(row.ident)
                row.most_user_turns = max(row.most_user_turns, len(known.messages) // 2)
        figures = [await figure(row) for row in rows]
    table = []
    for told in figures:
        times = {name: told[name] for name in ("first_token_ms", "turn_ms", "turn_beside_summary_ms")}
        told["ratios"] = {name: round(t["median"] / figures[0][name]["median"], 2) for name, t in times.items()}
        shown = (f"{t['median']:.1f} / {t['p95']:.1f} / {told['ratios'][name]:.2f}" for name, t in times.items())
        table.append([told["row"], *shown, told["summaries"], told["most_user_turns"]])
    columns = ["store, window", "first token", "turn", "turn beside a summary", "summaries", "most turns"]
    show(f"{args.turns} turns in a window of {WINDOW}; ms: median / p95 / ratio to the first row", columns, table)
    save("compaction", {"turns": args.turns, "window": WINDOW, "pause_ms": args.pause_ms, "figures": figures})


def blocks(turns: int) -> list[range]:
    """The numbers of all turns; a summary begins in the middle of a block."""
    half = WINDOW // 4
    starts = [0, *range(half + 1, turns, WINDOW // 2), turns]
    return [range(start, end) for start, end in itertools.pairwise(starts)]


async def figure(row: Row) -> dict[str, Any]:
    """What was measured of a row; the first turn is a warm-up."""
    beside = [seconds for number, seconds in enumerate(row.whole) if number in range(WINDOW, 10_000, WINDOW // 2)]
    return {
        "row": row.name,
        "first_token_ms": spread(row.first[1:]),
        "turn_ms": spread(row.whole[1:]),
        "turn_beside_summary_ms": spread(beside),
        "summaries": await counted(row, 'parley_llm_compaction_seconds_count{outcome="done"}'),
        "most_user_turns": row.most_user_turns,
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """As `milliseconds`, with the 95th percentile."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {**milliseconds(ordered), "p95": round(p95 * 1000, 1)}


if __name__ == "__main__":
    asyncio.run(main())
