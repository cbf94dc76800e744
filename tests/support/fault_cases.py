"""One experiment: there are sessions in every state, something breaks, and what becomes of each of them is noted."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.support.fault_sessions import FaultySession, Outcome, State
from tests.support.fault_stack import FaultStack

_NAMES = {
    "stt": "speech-to-text",
    "llm": "language model",
    "tts": "text-to-speech",
    "provider": "language model",
    "redis": "language model",
}
"""How errors call what has failed, or what is nearest to it."""
STALL_S, DELAY_S = 0.5, 0.05
Outcomes = Callable[[], Awaitable[None]]
"""Waits until it is known what becomes of every session."""


async def _link(stack: FaultStack, name: str, fault: str, outcomes: Outcomes) -> None:
    link = stack.links[name]
    if fault == "delay":
        link.delay(DELAY_S)
    else:
        getattr(link, fault.replace(" ", "_"))()
    try:
        if fault != "stall":
            await outcomes()
            return
        waiting = asyncio.create_task(asyncio.sleep(STALL_S))
        waiting.add_done_callback(lambda _: link.restore())
        await outcomes()
        await waiting
    finally:
        link.restore()


async def _process(stack: FaultStack, name: str, fault: str, outcomes: Outcomes) -> None:
    if fault == "stop":
        stack.stop(name)
        try:
            await outcomes()
        finally:
            stack.go_on(name)
    elif fault == "kill":
        await stack.kill(name)
        try:
            await outcomes()
        finally:
            await stack.start(name)
    else:

        async def restart() -> None:
            await stack.end(name)
            await stack.start(name)

        await asyncio.gather(restart(), outcomes())


async def warm_up(stack: FaultStack) -> None:
    """Have everything done once that is done in an experiment, and measure what is held afterwards."""
    for _ in range(2):
        await _run(stack, lambda outcomes: outcomes())
    await stack.measure()


async def experiment(stack: FaultStack, what: str, fault: str) -> dict[State, Outcome]:
    """Break it while there is a session in every state; then use every conversation again, and hang up.

    Raises:
        AssertionError: one hangs, or cannot be used again, or something is left of it.
    """
    kind, _, name = what.partition(" ")
    breaking = _link if kind == "link" else _process
    found = await _run(stack, lambda outcomes: breaking(stack, name, fault, outcomes), _NAMES.get(name, ""))
    await stack.check_nothing_is_left()
    return found


async def _run(
    stack: FaultStack, breaking: Callable[[Outcomes], Awaitable[None]], named: str = ""
) -> dict[State, Outcome]:
    sessions = {state: FaultySession(stack, state) for state in State}
    stack.provider.keep()
    try:
        waiting = (State.THINKING, State.SPEAKING)  # entered last: the provider must not be waited for too long
        await asyncio.gather(*(session.enter() for state, session in sessions.items() if state not in waiting))
        await asyncio.gather(*(sessions[state].enter() for state in waiting))
        while stack.provider.keeps < len(waiting):
            await asyncio.sleep(0.01)
        found: list[Outcome] = []

        async def outcomes() -> None:
            stack.provider.release()
            found.extend(await asyncio.gather(*(session.go_on() for session in sessions.values())))

        await breaking(outcomes)
        for session in sessions.values():
            session.check_named(named)
        await asyncio.gather(*(session.use_again() for session in sessions.values()))
    finally:
        await asyncio.gather(*(session.aclose() for session in sessions.values()))
    return dict(zip(sessions, found, strict=True))
