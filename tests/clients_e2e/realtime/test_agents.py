"""npm @openai/agents, unchanged."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.support.realtime import realtime_port
from tests.support.stack import fake_stack

AGENTS = Path(__file__).parent / "agents"
_INSTALL_S, _TALK_S = 120.0, 60.0


async def run(timeout_s: float, *command: str) -> str:
    """What a command prints.

    Raises:
        AssertionError: where it fails, with its errors.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=AGENTS, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
@pytest.mark.timeout(_INSTALL_S + _TALK_S)
async def test_three_turns_with_an_interruption_and_a_function() -> None:
    await run(_INSTALL_S, "npm", "ci", "--no-audit", "--no-fund")
    fakes = {"llm": ("--fake_calls_tools",), "tts": ("--fake_tts_ms_per_character=12",)}
    async with fake_stack(orchestrator=("--realtime_port=0",), **fakes) as stack:
        url = f"ws://127.0.0.1:{realtime_port(stack['orchestrator'])}/v1/realtime"
        seen = json.loads(await run(_TALK_S, "node", "talk.mjs", url))
    assert seen["errors"] == []
    call, answer = "completed function_call", "completed message"
    assert seen["turns"] == [call, "cancelled message", call, answer, call, answer]
    assert seen["called"] == ["get_time"] * 3
    assert seen["interruptions"] == 1
    assert seen["audio"] > 100_000
    said = [item for item in seen["history"] if item["type"] == "message"]
    assert [item["role"] for item in said] == ["user", "assistant"] * 3
    assert [item["status"] for item in said if item["role"] == "assistant"] == ["incomplete", "completed", "completed"]
    heard = [item["content"][0]["transcript"] for item in said if item["role"] == "assistant"]
    assert heard[1].startswith(heard[0])
    assert len(heard[0]) < len(heard[1]), "the history has what was heard"
    assert said[0]["content"][0]["transcript"] == "This is a fake transcript."
