"""Killing any service in the middle of `parley talk` gives one line that names it."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from cli.plan import FREE_PORTS, plan_stack
from cli.programs import ORCHESTRATOR
from cli.stack import Stack
from tests.support.commands import FAKES, Command, parley

pytestmark = pytest.mark.asyncio(loop_scope="module")
TITLES = {
    "stt": "the speech-to-text service",
    "llm": "the language model service",
    "tts": "the text-to-speech service",
    "orchestrator": "the orchestrator",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """All four programs; the answer is written slowly enough to be in the middle of it."""
    plan = plan_stack([*FAKES, "--fake_token_ms", "50"], FREE_PORTS)
    stack = Stack(plan.launches, log_dir=tmp_path_factory.mktemp("logs"))
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running_stack: Stack) -> AsyncIterator[Stack]:
    """All four programs; what a test has killed is started again, and the orchestrator anew: for up to a second its
    old connections would not try to reach a service that is back.
    """
    yield running_stack
    dead = [name for name, process in running_stack.processes.items() if not process.running]
    await running_stack.processes[ORCHESTRATOR.name].stop()
    for name in dict.fromkeys([*dead, ORCHESTRATOR.name]):
        await running_stack.restart(name)


async def kill(stack: Stack, name: str) -> None:
    stack.processes[name].kill()
    await stack.processes[name].ended()


async def assert_names(talk: Command, name: str) -> None:
    code, _, err = await talk.ended()
    assert (code, err) == (1, f"parley: {TITLES[name]} is not reachable\n")


def talking(stack: Stack, question: Path) -> AbstractAsyncContextManager[Command]:
    return parley("talk", str(question), "--target", stack.addresses[ORCHESTRATOR.name])


@pytest.mark.parametrize("name", TITLES)
async def test_a_service_killed_while_the_user_speaks_is_named(name: str, stack: Stack, question: Path) -> None:
    async with talking(stack, question) as talk:
        await talk.until("Sending")
        await kill(stack, name)
        await assert_names(talk, name)


@pytest.mark.parametrize("name", ["llm", "tts", "orchestrator"])
async def test_a_service_killed_while_the_answer_is_written_is_named(name: str, stack: Stack, question: Path) -> None:
    async with talking(stack, question) as talk:
        await talk.until("You:")
        await kill(stack, name)
        await assert_names(talk, name)


@pytest.mark.parametrize("name", ["stt", "llm", "tts"])
async def test_a_service_that_is_down_from_the_start_is_named(name: str, stack: Stack, question: Path) -> None:
    await kill(stack, name)
    async with talking(stack, question) as talk:
        await assert_names(talk, name)


async def test_after_all_that_the_stack_still_answers(stack: Stack, question: Path) -> None:
    async with talking(stack, question) as talk:
        code, out, err = await talk.ended()
    assert (code, err) == (0, "")
    assert "Parley:" in out
