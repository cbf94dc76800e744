"""Ten times the load that a server can serve: what those inside get, and how soon the others are told.

Parley on its fakes, of fixed pace: the language model takes 50 ms to the first token and 5 ms a token. The capacity is
the most callers that are answered at the usual pace (95 % of the answers) where nobody is refused; it is measured
first, on the same machine in the same minute. Then 1, 2, 5 and 10 times as many call, with `--max_load` and without; no
limit by number is in the way. Callers (benchmarks/overload_client.py) run in a process of their own, hold sessions of
20 turns with half a second between two, and come back when they were refused as soon as the server says. One more, in
a process that has nothing else to do, comes again and again and tells how soon it is refused. Goodput is answers at the
usual pace a second. `--kind stt`, `llm`, `tts`: one service without the others.

    python -m benchmarks.overload [--kind session stt llm tts] [--times 1 2 5 10] [--seconds 8] [--settle 45]
"""

import argparse
import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.overhead import ANSWER, FIRST_TOKEN_MS, TOKEN_MS, _process
from benchmarks.overload_client import PACE_S
from benchmarks.report import RESULTS, load, save, show
from tests.support.servers import RunningServer, running

MAX_LOAD = {"orchestrator": 0.85, "stt": 0.9, "llm": 0.9, "tts": 0.9}
"""Those behind the orchestrator let in more, so that sessions are refused and not the turns of those inside."""
FIRST_CALLERS, GROWTH = 8, 1.25
SETTLE_S = {"session": 10.0, "stt": 10.0, "llm": 25.0, "tts": 4.0}
"""Until what came in at once has settled; those of it who were refused come back after 30 to 60 s."""
STEP_S = 1.5
"""Of a step on the way to the capacity."""
FLAGS = {
    "stt": ("--stt=fake", "--stt_max_streams=100000"),
    "llm": (
        *("--llm_backend=fake", f"--fake_answer={ANSWER}"),
        *(f"--fake_first_token_ms={FIRST_TOKEN_MS}", f"--fake_token_ms={TOKEN_MS}"),
    ),
    "tts": ("--tts=fake", "--fake_tts_ms_per_character=2", "--tts_max_running=100000"),
}
MODES = {"on": "admission by load", "off": "nobody is refused"}


@dataclass(frozen=True)
class Callers:
    """Two processes, and what tells each what to do: the crowd cannot tell how soon it is refused, as it is busy."""

    crowd: Callable[[str], Awaitable[Any]]
    one_more: Callable[[str], Awaitable[Any]]


@contextlib.asynccontextmanager
async def called(kind: str, *, by_load: bool = False) -> AsyncIterator[Callers]:
    """The servers that this kind of caller needs, and its callers."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str, *more: str) -> RunningServer:
            flags = (f"--max_load={MAX_LOAD[name]}",) if by_load else ()
            return await stack.enter_async_context(running(name, *more, *flags))

        if kind == "session":
            servers = dict(
                zip(FLAGS, await asyncio.gather(*(start(name, *FLAGS[name]) for name in FLAGS)), strict=True)
            )
            targets = (f"--{name}_target={server.address}" for name, server in servers.items())
            server = await start("orchestrator", *targets, "--max_sessions=100000")
        else:
            server = await start(kind, *FLAGS[kind])
        yield await stack.enter_async_context(_callers(kind, server.address))


@contextlib.asynccontextmanager
async def _callers(kind: str, address: str) -> AsyncIterator[Callers]:
    client = ("benchmarks.overload_client", kind, address)
    async with _process(*client) as crowd, _process(*client) as one_more:
        for process in (crowd, one_more):
            assert process.stdout is not None
            await process.stdout.readline()
        yield Callers(functools.partial(_tell, crowd), functools.partial(_tell, one_more))


async def _tell(process: asyncio.subprocess.Process, command: str) -> Any:
    assert process.stdout is not None
    assert process.stdin is not None
    process.stdin.write(f"{command}\n".encode())
    return json.loads(await process.stdout.readline())


async def capacity(kind: str) -> int:
    """The most callers that are answered at the usual pace where all are let in."""
    callers, kept = float(FIRST_CALLERS), FIRST_CALLERS
    async with called(kind) as everybody:
        while True:
            await everybody.crowd(f"callers {callers:.0f}")
            await everybody.crowd(f"measure {STEP_S}")
            met = await everybody.crowd(f"measure {STEP_S}")
            if not met["answer_p95_ms"] <= PACE_S[kind] * 1000:
                return kept
            kept, callers = round(callers), callers * GROWTH


async def at_times(
    kind: str, carried: int, times: list[int], seconds: float, settle_s: float, *, by_load: bool
) -> list[dict[str, Any]]:
    """What callers meet at each multiple of the capacity, each with servers of its own, and how soon it is over."""
    figures = []
    for factor in times:
        async with called(kind, by_load=by_load) as callers:
            await callers.crowd(f"callers {carried * factor}")
            await callers.crowd(f"measure {settle_s}")
            measuring = [callers.crowd(f"measure {seconds}")]
            if by_load:
                measuring.append(callers.one_more(f"knock {seconds}"))
            met = {name: value for found in await asyncio.gather(*measuring) for name, value in found.items()}
            await callers.crowd("callers 0")
            figures.append({"times": factor, **met, "recovery_s": round(await callers.crowd("probe"), 2)})
    return figures


async def compare(kind: str, times: list[int], seconds: float, settle_s: float) -> dict[str, Any]:
    """With admission by load and without, at each multiple of the capacity."""
    carried = await capacity(kind)
    result: dict[str, Any] = {
        "carried": carried,
        "pace_ms": PACE_S[kind] * 1000,
        "seconds": seconds,
        "settle_s": settle_s,
    }
    result["on"] = await at_times(kind, carried, times, seconds, settle_s, by_load=True)
    result["off"] = await at_times(kind, carried, times, seconds, settle_s, by_load=False)
    columns = ["callers", "inside", "goodput/s", "of 1x", "answer p50", "p95", "refused/s", "recovery s"]
    knocks = ["one more: refused p50", "p99", "in 10 ms"]
    for mode in ("on", "off"):
        base = result[mode][0]["good_per_s"]
        rows = []
        for met in result[mode]:
            met["of_1x"] = round(met["good_per_s"] / base, 2) if base else 0.0
            row = [f"{met['times']}x", met["inside"], met["good_per_s"], f"{met['of_1x']:.0%}"]
            row += [met["answer_p50_ms"], met["answer_p95_ms"], met["refused_per_s"], met["recovery_s"]]
            if mode == "on":
                row += [met["knock_p50_ms"], met["knock_p99_ms"], f"{met['knocks_at_once']:.0%}"]
            rows.append(row)
        show(
            f"{kind}: {carried} callers are carried; {MODES[mode]}; answers and refusals in ms",
            columns + knocks * (mode == "on"),
            rows,
        )
    return result


def plot(results: dict[str, Any]) -> None:
    """Goodput and answers of the sessions over the load, as benchmarks/results/overload.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (goodput, answers) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for mode, label in MODES.items():
        times = [met["times"] for met in results["session"][mode]]
        goodput.plot(times, [met["good_per_s"] for met in results["session"][mode]], marker="o", label=label)
        answers.plot(times, [met["answer_p95_ms"] for met in results["session"][mode]], marker="o", label=label)
    goodput.set(title="answers at the usual pace, a second", xlabel="callers, times the capacity", ylim=(0, None))
    answers.set(title="95th percentile of the first audio, ms", xlabel="callers, times the capacity", yscale="log")
    answers.axhline(results["session"]["pace_ms"], color="grey", linestyle=":", label="the usual pace")
    answers.legend()
    figure.savefig(RESULTS / "overload.svg", metadata={"Date": None})


async def main() -> None:
    """Measure the kinds asked for; the results of the others stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", nargs="+", choices=list(PACE_S), default=list(PACE_S))
    parser.add_argument("--times", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--settle", type=float, help="seconds before that; the default is the kind's")
    args = parser.parse_args()
    results = load("overload")
    for kind in args.kind:
        results[kind] = await compare(kind, args.times, args.seconds, args.settle or SETTLE_S[kind])
        found = json.dumps({kind: results[kind] for kind in PACE_S if kind in results})
        save("overload", json.loads(found.replace("NaN", "null")))  # of nothing there are no percentiles
    if "session" in args.kind:
        plot(results)


if __name__ == "__main__":
    asyncio.run(main())
