"""Whether a turn waits for a summary where one model in one process does both: the embedded model, side by side.

A real LLM server with the embedded model, with and without `--compact_history`, one after the other so that neither
takes the other's processors, and again; each time a conversation in a window of 4, and a pause between turns in which a
summary begins and does not end: the next turn comes in its middle, the worst case (an orchestrator's Prefill, sent when
the user begins to speak, stops it long before the turn). The embedded model never gives a usable summary, so both let
the same turns go, and both see prompts of the same length: what differs is the compactor alone.

    python -m benchmarks.compaction_local [--turns 14] [--rounds 2] [--pause_ms 150]
"""

import argparse
import asyncio
from dataclasses import dataclass, field
from typing import Any

from parley.common.v1 import chat_pb2

from benchmarks.compaction import Row, counted, spread, take
from benchmarks.report import save, show
from tests.support.llm_client import client_of
from tests.support.servers import running

WINDOW = 4
SAMPLING = chat_pb2.SamplingOptions(max_output_tokens=12)
FLAGS = (
    *("--llm_backend", "transformers", "--model_name", "package:smollm2-135m-instruct", "--llm_device", "cpu"),
    *("--llm_quantization", "int8", "--llm_threads", "1", "--chat_size", str(WINDOW), "--metrics_port", "0"),
)
QUESTION = (
    "This is question {} of a long conversation. I would like to know what you think of the weather today, whether it "
    "will rain in the afternoon, and what I should wear when I go out with my two children and our old dog."
)


@dataclass(eq=False)
class Figures:
    """What was measured with one setting, once the window was full."""

    name: str
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    gave_way: int = 0


async def block(row: Figures, flags: tuple[str, ...], turns: int, pause_s: float) -> None:
    """A server of its own, and a conversation on it."""
    async with running("llm", *FLAGS, *flags) as server, client_of(server.address) as client:
        known = Row(row.name, client, server, await client.create())
        for number in range(turns):
            await take(known, QUESTION.format(number), SAMPLING)
            await asyncio.sleep(pause_s)
        row.first += known.first[WINDOW:]
        row.whole += known.whole[WINDOW:]
        row.gave_way += await counted(known, "parley_llm_compactions_gave_way_total")


async def main() -> None:
    """Measure both, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pause_ms", type=float, default=150)
    args = parser.parse_args()
    rows = {Figures("eviction"): ("--compact_history", "False"), Figures("compaction"): ()}
    for _ in range(args.rounds):
        for row, flags in rows.items():
            await block(row, flags, args.turns, args.pause_ms / 1000)
    figures: list[dict[str, Any]] = [
        {
            "row": row.name,
            "first_token_ms": spread(row.first),
            "turn_ms": spread(row.whole),
            "summaries_stopped_for_a_turn": row.gave_way,
        }
        for row in rows
    ]
    table = []
    for figure in figures:
        times = {name: figure[name] for name in ("first_token_ms", "turn_ms")}
        figure["ratios"] = {name: round(t["median"] / figures[0][name]["median"], 2) for name, t in times.items()}
        shown = (f"{t['median']:.1f} / {t['p95']:.1f} / {figure['ratios'][name]:.2f}" for name, t in times.items())
        table.append([figure["row"], *shown, figure["summaries_stopped_for_a_turn"]])
    columns = ["window", "first token", "turn", "summaries stopped for a turn"]
    show(
        f"{args.rounds} x {args.turns} turns in a window of {WINDOW}; ms: median / p95 / ratio to the first row",
        columns,
        table,
    )
    save("compaction_local", {"turns": args.turns, "rounds": args.rounds, "window": WINDOW, "figures": figures})


if __name__ == "__main__":
    asyncio.run(main())
