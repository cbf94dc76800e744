"""What Parley itself adds: final transcript to first audio frame, with scripted stages, beside a bare gRPC chain.

`--part turns`: all stages are fake and without delay, but for the language model: 50 ms to the first token and 5 ms a
token. The floor is when that model has said its first sentence. Every session is open before the clock starts; then
each says one manual turn, all at once. `--part live`: sessions that are only listened to, 20 ms frames at the speed of
speech, one frame a message and as the client library sends them; CPU is that of listening alone, and then turns are
ended to see whether answers come late. The bare chain (benchmarks/bare_chain.py) does the
same with raw bytes and no product. `--part telemetry`: turns of sessions that speak without a pause, with metrics that
are scraped, with traces to a collector too, and by the same programs counting nothing. All are measured in turn in one
run, by a client in a process of its own (benchmarks/load_client.py); CPU is what the operating system charges to each
process. `--part realtime`: the same spoken turns through `Converse` and through the Realtime bridge of one
orchestrator, in turn.

    python -m benchmarks.overhead [--part turns live telemetry realtime] [--sessions 1 16 64] [--turns 20]
"""

import argparse
import asyncio
import contextlib
import functools
import json
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.report import load, milliseconds, save, show
from tests.support.otlp import otlp_sink
from tests.support.realtime import realtime_port
from tests.support.servers import ROOT, RunningServer, running

FIRST_TOKEN_MS, TOKEN_MS = 50, 5
ANSWER = "This is a fake answer of ten words for measuring. And here is a second sentence that follows it."
SENTENCE_TOKENS = 10
"""Words up to the first full stop; the fake model's tokens are words."""
FLOOR_S = (FIRST_TOKEN_MS + (SENTENCE_TOKENS - 1) * TOKEN_MS) / 1000
SCRAPE_S = 5.0
REALTIME_ROUNDS = 4
LATE_S = 0.1
"""An answer to a listening session that takes longer is late."""
_LINE_BYTES = 1 << 24


@dataclass(frozen=True)
class Chain:
    """Servers that run: the address of the last, and the processes by name; the last of them is the orchestrator."""

    address: str
    processes: dict[str, psutil.Process]
    realtime_address: str = ""
    scraped: tuple[RunningServer, ...] = ()
    """The servers whose metrics are read."""

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds of each so far."""
        return {name: sum(process.cpu_times()[:2]) for name, process in self.processes.items()}

    def resident_kb(self) -> float:
        """Memory of the orchestrator."""
        return float(list(self.processes.values())[-1].memory_info().rss / 1e3)


@contextlib.asynccontextmanager
async def bare_chain() -> AsyncIterator[Chain]:
    """The four servers of the bare chain."""
    async with contextlib.AsyncExitStack() as stack:
        processes: dict[str, psutil.Process] = {}

        async def serve(role: str, *arguments: str) -> str:
            process = await stack.enter_async_context(_process("benchmarks.bare_chain", role, *arguments))
            processes[role] = psutil.Process(process.pid)
            assert process.stdout is not None
            return (await process.stdout.readline()).decode().strip()

        stt = await serve("stt")
        llm = await serve("llm", str(FIRST_TOKEN_MS), str(TOKEN_MS), str(SENTENCE_TOKENS))
        tts = await serve("tts")
        yield Chain(f"127.0.0.1:{await serve('chain', llm, tts, stt)}", processes)


@contextlib.asynccontextmanager
async def parley(*more: str, through: tuple[str, ...] = (), bridge: bool = False) -> AsyncIterator[Chain]:
    """Parley on its fakes, each program with these flags more; with the Realtime bridge if that is wanted."""

    async def start(name: str, *flags: str) -> RunningServer:
        return await stack.enter_async_context(running(name, *flags, *more, through=through))

    flags = {
        "stt": ("--stt", "fake", "--stt_max_streams", "1000"),
        "llm": (
            *("--llm_backend", "fake", "--fake_answer", ANSWER),
            *("--fake_first_token_ms", str(FIRST_TOKEN_MS), "--fake_token_ms", str(TOKEN_MS)),
        ),
        "tts": ("--tts", "fake", "--fake_tts_ms_per_character", "2"),
    }
    async with contextlib.AsyncExitStack() as stack:
        servers = {name: await start(name, *flags[name]) for name in flags}
        targets = (f"--{name}_target={server.address}" for name, server in servers.items())
        realtime = ("--realtime_port=0",) if bridge else ()
        servers["orchestrator"] = await start("orchestrator", *targets, *realtime)
        processes = {name: psutil.Process(server.pid) for name, server in servers.items()}
        realtime_address = f"127.0.0.1:{realtime_port(servers['orchestrator'])}" if bridge else ""
        scraped = tuple(servers.values()) if "--metrics_port=0" in more else ()
        yield Chain(servers["orchestrator"].address, processes, realtime_address, scraped)


@contextlib.asynccontextmanager
async def _scraped(servers: tuple[RunningServer, ...]) -> AsyncIterator[None]:
    """Their metrics are read now and then, as Prometheus does."""

    async def scrape() -> None:
        while True:
            await asyncio.sleep(SCRAPE_S)
            for server in servers:
                await server.metrics_page()

    scraping = asyncio.create_task(scrape())
    try:
        yield
    finally:
        scraping.cancel()
        await asyncio.gather(scraping, return_exceptions=True)


@contextlib.asynccontextmanager
async def client(*arguments: str) -> AsyncIterator[Callable[..., Awaitable[dict[str, Any]]]]:
    """The load client with its sessions open; yields what runs one measurement and returns its result: it may be told
    which by a word.
    """
    async with _process("benchmarks.load_client", *arguments) as process:
        reader, writer = process.stdout, process.stdin
        assert reader is not None
        assert writer is not None

        async def line() -> str:
            if not (answer := (await reader.readline()).decode().strip()):
                raise RuntimeError("the load client has ended")
            return answer

        async def measure(word: str = "go") -> dict[str, Any]:
            writer.write(f"{word}\n".encode())
            return dict(json.loads(await line()))

        assert await line() == "ready"
        yield measure


@contextlib.asynccontextmanager
async def _process(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), stdin=pipe, stdout=pipe, cwd=ROOT, limit=_LINE_BYTES
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.communicate()


@dataclass(frozen=True)
class Measured:
    """One measurement: what the client saw, and for each process its CPU seconds; `memory_kb` is a session's."""

    result: dict[str, Any]
    cpu_s: dict[str, float]
    memory_kb: float


async def measure(chain: Any, name: str, what: str, sessions: int, count: int) -> Measured:
    """Start a chain, open the sessions, warm up once, and measure once more."""
    async with chain() as servers:
        empty_kb = servers.resident_kb()
        async with client(what, name, servers.address, str(sessions), str(count)) as run:
            await run()
            result, spent = await measure_running(servers, run)
            return Measured(result, spent, round((servers.resident_kb() - empty_kb) / sessions))


async def measure_running(
    servers: Chain, run: Callable[..., Awaitable[dict[str, Any]]]
) -> tuple[dict[str, Any], dict[str, float]]:
    """What a client saw in one measurement more, and the CPU seconds of each process."""
    before = servers.cpu_s()
    async with _scraped(servers.scraped):
        result = await run()
    spent = {process: after - before[process] for process, after in servers.cpu_s().items()}
    return result, spent | {"client": result["client_cpu_s"]}


PARTS = ["turns", "live", "telemetry", "realtime"]
CHAINS = (("bare", bare_chain), ("parley", parley))
LISTENERS = (*CHAINS, ("bare gathered", bare_chain), ("parley gathered", parley))
"""Gathered is as the client library sends while nobody speaks: ten frames in one message."""


async def turns_part(sessions_at_once: list[int], turns: int) -> dict[str, Any]:
    """Latency, CPU for a turn and memory of a session, at each number of sessions."""
    rows, costs, figures = [], [], []
    for sessions in sessions_at_once:
        added: dict[str, dict[str, float]] = {}
        cpu: dict[str, dict[str, float]] = {}
        for name, chain in CHAINS:
            measured = await measure(chain, name, "turns", sessions, turns)
            added[name] = milliseconds([seconds - FLOOR_S for seconds in measured.result["spent_s"]])
            cpu[name] = {who: round(s / sessions / turns * 1000, 2) for who, s in measured.cpu_s.items()}
            memory_kb = measured.memory_kb
            costs.append([f"{sessions}, {name}", *list(cpu[name].values()), sum(cpu[name].values())])
        ratio = round(added["parley"]["median"] / added["bare"]["median"], 2)
        figures.append(
            {"sessions": sessions, "added_ms": added, "ratio": ratio, "cpu_ms": cpu, "session_kb": memory_kb}
        )
        rows.append([sessions, *(added[n][k] for n in ("bare", "parley") for k in ("median", "p90")), ratio, memory_kb])
    columns = ["sessions at once", "bare median", "bare p90", "Parley median", "Parley p90", "ratio", "KB a session"]
    show(f"Added to the floor of {FLOOR_S * 1000:.0f} ms, in ms", columns, rows)
    show("CPU for a turn, in ms", ["sessions", "STT", "LLM", "TTS", "orchestrator", "client", "all"], costs)
    return {"floor_ms": FLOOR_S * 1000, "turns": turns, "figures": figures}


async def live_part(listening: list[int], seconds: int) -> dict[str, Any]:
    """CPU for a second of a listening session; and, while turns are ended, whether answers come late."""
    rows, figures = [], []
    for sessions in listening:
        per_second: dict[str, float] = {}
        for name, chain in LISTENERS:
            async with chain() as servers:
                empty_kb = servers.resident_kb()
                async with client("listen", name, servers.address, str(sessions), str(seconds)) as run:
                    await run("ask")
                    heard, spent = await measure_running(servers, run)
                    session_kb = round((servers.resident_kb() - empty_kb) / sessions)
                    asked = await run("ask")
            cpu = {who: round(s / sessions / seconds * 1000, 2) for who, s in spent.items()}
            per_second[name] = cpu["orchestrator" if chain is parley else "chain"]
            answers = milliseconds(asked["answered_s"])
            late = sum(span > LATE_S for span in asked["answered_s"])
            figure = {"sessions": sessions, "chain": name, "cpu_ms_per_second": cpu, "answer_ms": answers}
            figure |= {"answers": len(asked["answered_s"]), "late": late, "session_kb": session_kb}
            figure["client_behind_ms"] = round(max(heard["client_behind_s"], asked["client_behind_s"]) * 1000, 1)
            figures.append(figure)
            rows.append(
                [
                    *(f"{sessions}, {name}", f"{per_second[name]:.2f}", f"{cpu['stt']:.2f}", f"{cpu['client']:.2f}"),
                    *(answers["median"], answers["p90"], answers["max"], f"{late} of {len(asked['answered_s'])}"),
                    f"{per_second[name] / per_second['bare']:.2f}",
                ]
            )
    columns = ["listening", "orchestrator", "STT", "client", "answer median", "p90", "max", "late", "ratio"]
    show("CPU for a second of a listening session, and answers asked for meanwhile, in ms", columns, rows)
    return {"seconds": seconds, "late_after_ms": LATE_S * 1000, "figures": figures}


async def telemetry_part(sessions: int, turns: int, rounds: int) -> dict[str, Any]:
    """Turns a second of sessions that speak without a pause, and CPU for a turn; the ratios are medians of rounds."""

    def median_ratio(of: list[float], to: list[float]) -> float:
        return round(statistics.median(a / b for a, b in zip(of, to, strict=True)), 3)

    async with otlp_sink() as endpoint, contextlib.AsyncExitStack() as stack:
        kinds = {
            "nothing": functools.partial(parley, through=("benchmarks.without_metrics",)),
            "metrics": functools.partial(parley, "--metrics_port=0"),
            "metrics and traces": functools.partial(parley, "--metrics_port=0", f"--otlp_endpoint={endpoint}"),
        }
        rate: dict[str, list[float]] = {kind: [] for kind in kinds}
        cpu_ms: dict[str, list[float]] = {kind: [] for kind in kinds}
        chains = {kind: await stack.enter_async_context(chain()) for kind, chain in kinds.items()}
        runs = {
            kind: await stack.enter_async_context(client("loop", "parley", chain.address, str(sessions), str(turns)))
            for kind, chain in chains.items()
        }
        for number in range(rounds + 1):  # in turn, so that what the machine does meanwhile meets all alike
            order = [*kinds][number % len(kinds) :] + [*kinds][: number % len(kinds)]
            for kind in order:
                result, cpu_s = await measure_running(chains[kind], runs[kind])
                if number:  # the first round warms up
                    rate[kind].append(sessions * turns / result["took_s"])
                    cpu_ms[kind].append((sum(cpu_s.values()) - cpu_s["client"]) / sessions / turns * 1000)
    figures = {
        kind: {
            "turns_per_s": round(statistics.median(rate[kind]), 1),
            "ratio": median_ratio(rate[kind], rate["nothing"]),
            "cpu_ms": round(statistics.median(cpu_ms[kind]), 2),
            "cpu_ratio": round(
                statistics.median(a / b for a, b in zip(cpu_ms[kind], cpu_ms["nothing"], strict=True)), 3
            ),
        }
        for kind in kinds
    }
    columns = ["told of a turn", "turns a second", "ratio", "CPU of a turn, ms", "ratio"]
    rows = [[kind, *(f"{value:g}" for value in figure.values())] for kind, figure in figures.items()]
    show(f"What telemetry costs, {sessions} sessions, {rounds} rounds", columns, rows)
    return {"sessions": sessions, "turns": turns, "rounds": rounds, "figures": figures}


async def realtime_part(sessions_at_once: list[int], turns: int) -> dict[str, Any]:
    """The same turns through `Converse` and through the bridge, from the client's commit to the first audio."""
    rows, figures = [], []
    for sessions in sessions_at_once:
        spent: dict[str, list[float]] = {"spoken": [], "realtime": []}
        async with parley(bridge=True) as chain, contextlib.AsyncExitStack() as clients:
            addresses = {"spoken": chain.address, "realtime": chain.realtime_address}
            runs = {
                name: await clients.enter_async_context(
                    client("turns", name, address, str(sessions), str(turns // REALTIME_ROUNDS))
                )
                for name, address in addresses.items()
            }
            for number in range(REALTIME_ROUNDS + 1):
                for name, run in runs.items():
                    result = await run()
                    if number:  # the first round warms up
                        spent[name] += result["spent_s"]
        added = {name: milliseconds([seconds - FLOOR_S for seconds in values]) for name, values in spent.items()}
        more = round(added["realtime"]["median"] - added["spoken"]["median"], 1)
        ratio = round(added["realtime"]["median"] / added["spoken"]["median"], 2)
        figures.append({"sessions": sessions, "added_ms": added, "bridge_ms": more, "ratio": ratio})
        rows.append([sessions, *(added[n][k] for n in spent for k in ("median", "p90")), more, ratio])
    columns = ["sessions", "Converse median", "p90", "Realtime median", "p90", "bridge adds", "ratio"]
    show(f"Added to the floor of {FLOOR_S * 1000:.0f} ms, in ms", columns, rows)
    return {"floor_ms": FLOOR_S * 1000, "turns": turns, "figures": figures}


async def main() -> None:
    """Measure the parts asked for; the results of the others stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--listening", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--speaking", type=int, default=96)
    parser.add_argument("--loops", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    results = load("overhead")
    if "turns" in args.part:
        results["turns"] = await turns_part(args.sessions, args.turns)
    if "live" in args.part:
        results["live"] = await live_part(args.listening, args.seconds)
    if "realtime" in args.part:
        results["realtime"] = await realtime_part(args.sessions, args.turns)
    if "telemetry" in args.part:
        results["telemetry"] = await telemetry_part(args.speaking, args.loops, args.rounds)
    save("overhead", {part: results[part] for part in PARTS if part in results})


if __name__ == "__main__":
    asyncio.run(main())
