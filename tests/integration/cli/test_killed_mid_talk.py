"""Killing any service in the middle of `parley talk` gives one line that names it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.plan import FREE_PORTS, plan_stack
from cli.programs import ORCHESTRATOR
from cli.stack import Stack
from tests.support.commands import FAKES, parley

TITLES = {
    "stt": "the speech-to-text service",
    "llm": "the language model service",
    "tts": "the text-to-speech service",
    "orchestrator": "the orchestrator",
}
SLOW_ANSWER = ("--fake_token_ms", "100")


@contextlib.asynccontextmanager
async def fake_stack(log_dir: Path, *flags: str) -> AsyncIterator[Stack]:
    """All four programs, healthy."""
    plan = plan_stack([*FAKES, *flags], FREE_PORTS)
    stack = Stack(plan.launches, log_dir=log_dir)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.mark.parametrize("name", TITLES)
async def test_a_service_killed_while_the_user_speaks_is_named(name: str, tmp_path: Path, samples: Path) -> None:
    async with fake_stack(tmp_path) as stack:
        address = stack.addresses[ORCHESTRATOR.name]
        async with parley("talk", str(samples / "austen_0880.wav"), "--target", address) as talk:
            await talk.until("Sending")
            stack.processes[name].kill()
            code, _, err = await talk.ended()
    assert (code, err) == (1, f"parley: {TITLES[name]} is not reachable\n")


@pytest.mark.parametrize("name", ["llm", "tts", "orchestrator"])
async def test_a_service_killed_while_the_answer_is_spoken_is_named(name: str, tmp_path: Path, samples: Path) -> None:
    async with fake_stack(tmp_path, *SLOW_ANSWER) as stack:
        address = stack.addresses[ORCHESTRATOR.name]
        async with parley("talk", str(samples / "austen_0880.wav"), "--target", address) as talk:
            await talk.until("You:")
            stack.processes[name].kill()
            code, _, err = await talk.ended()
    assert (code, err) == (1, f"parley: {TITLES[name]} is not reachable\n")


@pytest.mark.parametrize("name", ["stt", "llm", "tts"])
async def test_a_service_that_is_down_from_the_start_is_named(name: str, tmp_path: Path, samples: Path) -> None:
    async with fake_stack(tmp_path) as stack:
        stack.processes[name].kill()
        await stack.processes[name].ended()
        address = stack.addresses[ORCHESTRATOR.name]
        async with parley("talk", str(samples / "austen_0880.wav"), "--target", address) as talk:
            code, _, err = await talk.ended()
    assert (code, err) == (1, f"parley: {TITLES[name]} is not reachable\n")
