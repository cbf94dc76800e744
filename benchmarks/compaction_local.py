"""Whether a turn waits for a summary where one model in one process does both: the embedded model, side by side.

Two real LLM servers with the embedded model, one with and one without `--compact_history`, a conversation each in a
window of 4, and a pause between turns in which a summary begins and does not end: the next turn comes in its middle.
The embedded model never gives a usable summary, so both conversations let the same turns go, and both models see
prompts of the same length: what differs is the compactor alone. The rows take their turns in alternation.

    python -m benchmarks.compaction_local [--turns 24] [--pause_ms 150]
"""

import argparse
import asyncio
import contextlib
import time
from typing import Any

from parley.common.v1 import chat_pb2
from parley.llm.v1 import llm_service_pb2

from benchmarks.compaction import Row, counted, port_in, spread
from benchmarks.report import save, show
from tests.support.llm_client import client_of, user
from tests.support.servers import running

WINDOW = 4
TOKENS = 12
FLAGS = (
    *("--llm_backend", "transformers", "--model_name", "package:smollm2-135m-instruct", "--llm_device", "cpu"),
    *("--llm_quantization", "int8", "--llm_threads", "1", "--chat_size", str(WINDOW), "--metrics_port", "0"),
)
QUESTION = (
    "This is question {} of a long conversation. I would like to know what you think of the weather today, whether it "
    "will rain in the afternoon, and what I should wear when I go out with my two children and our old dog."
)


async def take(row: Row, number: int) -> None:
    """One turn, timed."""
    request = llm_service_pb2.GenerateRequest(
        conversation_id=row.ident,
        messages=[user(QUESTION.format(number))],
        sampling=chat_pb2.SamplingOptions(max_output_tokens=TOKENS),
    )
    begun = time.monotonic()
    first = 0.0
    async for event in row.client.models.Generate(request):
        if not first and event.HasField("text_delta"):
            first = time.monotonic() - begun
    row.first.append(first)
    row.whole.append(time.monotonic() - begun)


async def main() -> None:
    """Measure both rows, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--pause_ms", type=float, default=150)
    args = parser.parse_args()
    async with contextlib.AsyncExitStack() as stack:
        rows: list[Row] = []
        for name, flags in {"eviction": ("--compact_history", "False"), "compaction": ()}.items():
            server = await stack.enter_async_context(running("llm", *FLAGS, *flags))
            client = await stack.enter_async_context(client_of(server.address))
            rows.append(Row(name, client, port_in(server.logs), await client.create()))
        for number in range(args.turns):
            for row in rows:
                await take(row, number)
                await asyncio.sleep(args.pause_ms / 1000)
        figures: list[dict[str, Any]] = [
            {
                "row": row.name,
                "first_token_ms": spread(row.first[WINDOW:]),
                "turn_ms": spread(row.whole[WINDOW:]),
                "begun": await counted(
                    row, "parley_llm_compaction_seconds_count", "parley_llm_compactions_gave_way_total"
                ),
                "gave_way": await counted(row, "parley_llm_compactions_gave_way_total"),
            }
            for row in rows
        ]
    table = []
    for figure in figures:
        times = {name: figure[name] for name in ("first_token_ms", "turn_ms")}
        figure["ratios"] = {name: round(t["median"] / figures[0][name]["median"], 2) for name, t in times.items()}
        shown = (f"{t['median']:.1f} / {t['p95']:.1f} / {figure['ratios'][name]:.2f}" for name, t in times.items())
        table.append([figure["row"], *shown, figure["begun"], figure["gave_way"]])
    columns = ["window", "first token", "turn", "summaries begun", "stopped for a turn"]
    show(f"{args.turns} turns in a window of {WINDOW}; ms: median / p95 / ratio to the first row", columns, table)
    save("compaction_local", {"turns": args.turns, "window": WINDOW, "pause_ms": args.pause_ms, "figures": figures})


if __name__ == "__main__":
    asyncio.run(main())
