"""What stands between a client and a provider: Parley's `Generate` beside a bare client, the openai SDK and LiteLLM.

The provider is a local one (benchmarks/llm_upstream.py): 60 tokens, the first after 50 ms, the others 5 ms apart.
For each route: the time to the first token at 1 stream and at 16 and 64 spread over 2 s, the tokens that 64 clients
carry who ask again at once, the processor time that it takes, and how soon the provider sees that an answer was given
up. All routes are measured in one run, one after another, on the same machine as the clients and the provider.

    python -m benchmarks.llm_gateway [--streams 1 16 64] [--rounds 4] [--closed_s 6] [--routes raw sdk parley litellm]
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.gateway_routes import RawRoute, Route, RouteMissingError, SdkRoute, litellm, parley
from benchmarks.llm_upstream import FIRST_TOKEN_S, TOKENS
from benchmarks.report import milliseconds, save, show
from tests.support.servers import ROOT

SPREAD_S = 2.0
CLOSED_STREAMS = 64
CANCELS = 20


class Provider:
    """The local provider, and what it tells of itself."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._told: dict[str, asyncio.Queue[float]] = {"asked": asyncio.Queue(), "closed": asyncio.Queue()}

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Take in what it prints."""
        async for line in lines:
            what, moment = line.split()
            self._told[what.decode()].put_nowait(float(moment))

    async def asked(self) -> None:
        """Wait for the next question."""
        await asyncio.wait_for(self._told["asked"].get(), 5)

    async def closed_at(self) -> float:
        """When it saw the next connection close amid an answer."""
        return await asyncio.wait_for(self._told["closed"].get(), 5)

    def forget(self) -> None:
        """Drop what it has told so far."""
        for queue in self._told.values():
            while not queue.empty():
                queue.get_nowait()


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Start the provider; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.llm_upstream", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    started = Provider(int(await process.stdout.readline()))
    listening = asyncio.create_task(started.listen(process.stdout))
    try:
        yield started
    finally:
        process.terminate()
        await process.wait()
        await listening


@contextlib.asynccontextmanager
async def _raw(port: int) -> AsyncIterator[Route]:
    route = RawRoute("raw client", port)
    yield route
    await route.aclose()


@contextlib.asynccontextmanager
async def _sdk(port: int) -> AsyncIterator[Route]:
    route = SdkRoute(port)
    yield route
    await route.aclose()


ROUTES: dict[str, list[Callable[[int], AbstractAsyncContextManager[Route]]]] = {
    "raw": [_raw],
    "sdk": [_sdk],
    "parley": [lambda port: parley("chat-completions", port), lambda port: parley("responses-api", port)],
    "litellm": [litellm],
}


async def first_tokens(route: Route, streams: int, rounds: int) -> list[float]:
    """Seconds to the first token of answers asked for at even distances over 2 s; one stream asks again and again."""
    if streams == 1:
        return [(await route.ask()).first_s for _ in range(rounds * 5)]

    async def late(number: int) -> float:
        await asyncio.sleep(number * SPREAD_S / streams)
        return (await route.ask()).first_s

    spent: list[float] = []
    for _ in range(rounds):
        spent += await asyncio.gather(*(late(number) for number in range(streams)))
    return spent


async def closed_loop(route: Route, seconds: float) -> dict[str, float]:
    """Tokens per second of clients who ask again as soon as they have their answer, and what they cost."""
    ends = time.monotonic() + seconds
    counted = 0

    async def client() -> None:
        nonlocal counted
        while time.monotonic() < ends:
            progress = await route.ask()
            if progress.tokens != TOKENS:
                raise RuntimeError(f"{route.name}: {progress.tokens} tokens instead of {TOKENS}")
            counted += progress.tokens

    cpu_s, begun = route.cpu_s(), time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLOSED_STREAMS)))
    spent_s = time.monotonic() - begun
    return {
        "tokens_per_s": round(counted / spent_s),
        "cpu_ms_per_1000_tokens": round((route.cpu_s() - cpu_s) * 1e6 / counted, 1),
    }


async def cancels(route: Route, upstream: Provider, after: int) -> dict[str, float]:
    """Milliseconds from giving an answer up, after so many tokens, until the provider sees it."""
    spent = []
    for _ in range(CANCELS):
        await asyncio.sleep(0.1)  # connections of the last answer are settled
        upstream.forget()
        await route.ask(after, None if after else upstream.asked())
        spent.append(await upstream.closed_at() - route.quit_at)
    return milliseconds(spent)


async def measure(route: Route, upstream: Provider, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one route."""
    for _ in range(3):
        await route.ask()
    figures: dict[str, Any] = {"route": route.name, "first_token_ms": {}}
    for streams in args.streams:
        spent = await first_tokens(route, streams, args.rounds)
        figures["first_token_ms"][str(streams)] = milliseconds(spent)
    figures |= await closed_loop(route, args.closed_s)
    figures["cancel_before_first_ms"] = await cancels(route, upstream, 0)
    figures["cancel_amid_ms"] = await cancels(route, upstream, 10)
    return figures


def _rows(results: list[dict[str, Any]], streams: list[int]) -> list[list[object]]:
    """A line for each route; what it adds is told against the bare client of the same run, or the provider's 50 ms."""
    base = {
        str(count): next(
            (r["first_token_ms"][str(count)]["median"] for r in results if r["route"] == "raw client"),
            FIRST_TOKEN_S * 1000,
        )
        for count in streams
    }
    rows = []
    for result in results:
        firsts = result["first_token_ms"]
        result["added_ms"] = {count: round(firsts[count]["median"] - base[count], 1) for count in firsts}
        rows.append(
            [
                result["route"],
                *(result["added_ms"][str(count)] for count in streams),
                result["tokens_per_s"],
                result["cpu_ms_per_1000_tokens"] or "-",
                f"{result['cancel_before_first_ms']['median']} / {result['cancel_amid_ms']['median']}",
            ]
        )
    return rows


async def main() -> None:
    """Measure the routes, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--closed_s", type=float, default=6.0)
    parser.add_argument("--routes", nargs="+", choices=list(ROUTES), default=list(ROUTES))
    args = parser.parse_args()
    results, missing = [], []
    async with provider() as upstream:
        for name in args.routes:
            for make in ROUTES[name]:
                try:
                    async with make(upstream.port) as route:
                        results.append(await measure(route, upstream, args))
                except RouteMissingError as error:
                    missing.append(str(error))
    columns = ["route", *(f"+ms, {count}" for count in args.streams), "tokens/s", "CPU ms/1000", "cancel ms"]
    rows = _rows(results, args.streams)
    show(
        f"Added to the first token; {CLOSED_STREAMS} clients in closed loop; cancel before first / amid", columns, rows
    )
    cost = {result["route"]: result["cpu_ms_per_1000_tokens"] for result in results}
    if "LiteLLM proxy" in cost:
        parleys = statistics.mean(spent for route, spent in cost.items() if route.startswith("Parley"))
        print(f"LiteLLM uses {cost['LiteLLM proxy'] / parleys:.1f} times Parley's processor time.")
    for line in missing:
        print(f"Not measured: {line}")
    save("llm_gateway", {"rounds": args.rounds, "closed_s": args.closed_s, "routes": results, "missing": missing})


if __name__ == "__main__":
    asyncio.run(main())
