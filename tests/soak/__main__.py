"""`python -m tests.soak [--minutes 30] [--callers 12] [--seed N]`; exit code 1 where something is lost."""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

import grpc
from parley.llm.v1 import conversation_service_pb2 as pb
from parley.llm.v1 import conversation_service_pb2_grpc
from rich.console import Console

from tests.soak.callers import DEADLINE_S, Caller
from tests.soak.growth import MEASURES, Sample, left_over, rising
from tests.soak.meters import Meters
from tests.soak.plot import plot
from tests.soak.reconcile import Seen, Stored, reconcile, totals
from tests.soak.world import World, world

WARM_UP_S = 20.0
REST_S = 30.0
"""Time to come to rest: held answers that nobody settles expire after 20 s."""
PLOT = Path("out/soak.svg")
_console = Console(highlight=False, soft_wrap=True)
_begun = time.monotonic()


def say(text: str) -> None:
    """Print a line with the time."""
    _console.print(f"{time.monotonic() - _begun:7.1f} s  {text}")


async def call(made: World, seed: int, count: int, seconds: float) -> list[Seen]:
    """Callers for so long; returns what they saw.

    Raises:
        TimeoutError: one of them did not come to an end.
    """
    seen: list[Seen] = []
    targets = [made.replicas[f"orchestrator {number}"].link.address for number in (1, 2)]
    either = ("ipv4:" + ",".join(targets), "ipv4:" + ",".join(reversed(targets)))
    stop = asyncio.Event()
    callers = [asyncio.create_task(Caller(n, seed, either, seen.append).run(stop)) for n in range(count)]
    done, _ = await asyncio.wait(callers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    stop.set()
    for caller in done:
        caller.result()
    async with asyncio.timeout(6 * DEADLINE_S):
        await asyncio.gather(*callers)
    return seen


async def at_rest(meters: Meters, before: dict[str, Sample] | None = None) -> dict[str, Sample]:
    """What the processes have with nobody there: as soon as it is no more than before, or after a while."""
    give_up = time.monotonic() + REST_S
    while True:
        await asyncio.sleep(3.0)
        now = await meters.sample()
        grown = any(name not in now or left_over(old, now[name]) for name, old in (before or {}).items())
        if time.monotonic() > give_up or (before is not None and not grown):
            return now


async def stored(made: World, seen: list[Seen]) -> dict[str, list[Stored]]:
    """The history of each conversation, as the store has it."""
    found: dict[str, list[Stored]] = {}
    async with grpc.aio.insecure_channel(made.replicas["llm 1"].server.address) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        for conversation in seen:
            request = pb.GetConversationRequest(conversation_id=conversation.conversation_id)
            messages = (await stub.GetConversation(request)).conversation.messages
            found[conversation.conversation_id] = [
                Stored(message.item_id, "".join(part.text for part in message.content)) for message in messages
            ]
    return found


async def soak(seconds: float, count: int, seed: int) -> list[str]:
    """Run it; returns what is wrong."""
    async with world() as made:
        meters = Meters(made)
        say(f"{count} callers warm up for {WARM_UP_S:.0f} s, without faults")
        warm = await call(made, seed - 1, count, WARM_UP_S)
        before = await at_rest(meters)
        say(f"{seconds / 60:g} minutes of faults")
        metering = asyncio.create_task(meters.run())
        breaking = asyncio.create_task(made.break_things(random.Random(seed), say))
        try:
            calling = asyncio.create_task(call(made, seed, count, seconds))
            await asyncio.wait({calling, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if breaking.done():
                breaking.result()  # a fault could not be made
            breaking.cancel()
            seen = warm + await calling
        finally:
            breaking.cancel()
            await asyncio.gather(breaking, return_exceptions=True)
            metering.cancel()
            await asyncio.gather(metering, return_exceptions=True)
        say("at rest")
        after = await at_rest(meters, {name: old for name, old in before.items() if name.split(" (")[0].endswith("1")})
        wrong = []
        histories = await stored(made, seen)
        for conversation in seen:
            name = conversation.conversation_id
            found = reconcile(conversation, histories[name])
            wrong += [f"{name}: {what}" for what in [*found, *(made.log_of(name) if found else ())]]
        for name, samples in meters.series.items():
            wrong += [f"{name}: {what}" for what in rising(samples)]
            if name in before and name in after:
                wrong += [f"{name}: {what}" for what in left_over(before[name], after[name])]
        _tell(seen, histories, before, after)
        PLOT.parent.mkdir(exist_ok=True)
        plot(meters.series, PLOT)
        return wrong


def _tell(
    seen: list[Seen], histories: dict[str, list[Stored]], before: dict[str, Sample], after: dict[str, Sample]
) -> None:
    messages = sum(len(history) for history in histories.values())
    responses = sum(len(conversation.responses) for conversation in seen)
    say(f"{len(seen)} conversations, {responses} responses, {messages} messages in the store; plot: {PLOT}")
    for what, count in totals(seen).items():
        say(f"    {count:6d} {what}")
    for name, sample in after.items():
        was = before.get(name)
        columns = (
            f"{measure} {f'{was.values[at]:.0f} -> ' if was else ''}{sample.values[at]:.0f}"
            for at, measure in enumerate(MEASURES)
        )
        say(f"    {name}: {', '.join(columns)}")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    args = parser.parse_args()
    say(f"seed {args.seed}")
    wrong = asyncio.run(soak(args.minutes * 60, args.callers, args.seed))
    for what in wrong:
        say(f"WRONG  {what}")
    say(f"{'FAILED' if wrong else 'passed'}: {len(wrong)} lost, hung or growing; seed {args.seed}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
