"""Whoever knows only protos/ can talk to Parley."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support.servers import ROOT
from tests.support.stack import fake_stack


async def _run(*command: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=cwd
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_a_strangers_third_turn_reaches_the_model_with_the_first(tmp_path: Path) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    protos = ROOT / "protos"
    sources = [str(path.relative_to(protos)) for path in protos.rglob("*.proto")]
    await _run(
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"--python_out={stubs}"),
        *(f"--grpc_python_out={stubs}", *sources),
    )
    script = tmp_path / "stranger.py"
    script.write_text((ROOT / "tests/clients/stranger.py").read_text("utf-8"), "utf-8")
    # The fake model answers with the context that it received.
    async with fake_stack(llm=("--fake_answer={received}",)) as stack:
        printed = await _run(
            sys.executable, str(script), stack["orchestrator"].address, env={"PYTHONPATH": str(stubs)}, cwd=tmp_path
        )
    answers = printed.splitlines()
    assert len(answers) == 3
    assert "What is my name?" in answers[2]
    assert "My name is Ada." in answers[2]
    assert "I live in London." in answers[2]
    assert "What is my name?" not in answers[1]
