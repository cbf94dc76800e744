"""Starting, watching and stopping programs; the programs are toys that do as they are told."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli import stack as stack_module
from cli.errors import CliError
from cli.process import Launch, State
from cli.programs import LLM, ORCHESTRATOR, STT, TTS, Program
from cli.stack import Stack
from tests.support import toy_program

TOY = str(Path(toy_program.__file__))


def launch(program: Program, *flags: str, grace_s: float = 10.0) -> Launch:
    return Launch(program, (sys.executable, TOY, "--port=0", *flags), "127.0.0.1", grace_s)


@contextlib.asynccontextmanager
async def stopped_at_the_end(stack: Stack) -> AsyncIterator[Stack]:
    try:
        yield stack
    finally:
        stack.kill()
        await stack.stop()


def alive(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_are_ready_and_the_orchestrator_knows_where_the_others_are(tmp_path: Path) -> None:
    stack = Stack([launch(STT), launch(LLM), launch(ORCHESTRATOR)], log_dir=tmp_path, targets={"tts": "tts.host:1"})
    async with stopped_at_the_end(stack):
        await stack.start()
        assert {process.state for process in stack.processes.values()} == {State.READY}
        assert all(process.resident_bytes() for process in stack.processes.values())
        log = (tmp_path / "orchestrator.log").read_text()
        assert f'"stt_target": "{stack.addresses["stt"]}"' in log
        assert f'"llm_target": "{stack.addresses["llm"]}"' in log
        assert '"tts_target": "tts.host:1"' in log


async def test_stop_ends_every_process(tmp_path: Path) -> None:
    stack = Stack([launch(STT), launch(ORCHESTRATOR)], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        await stack.start()
        pids = [process.pid for process in stack.processes.values()]
        await stack.stop()
        assert not any(alive(pid) for pid in pids)
        assert {process.state for process in stack.processes.values()} == {State.STOPPED}


async def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    stack = Stack([launch(STT, "--stubborn", grace_s=0.2)], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        await stack.start()
        pid = stack.processes["stt"].pid
        await stack.stop()
        assert not alive(pid)


async def test_a_program_that_dies_while_loading_is_named_with_its_last_words(tmp_path: Path) -> None:
    stack = Stack([launch(STT, "--dies=the model is damaged"), launch(TTS)], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        with pytest.raises(
            CliError,
            match=r"^the speech-to-text service ended while loading: the model is damaged; its log: .*stt\.log$",
        ):
            await stack.start()
        await stack.stop()
        assert not alive(stack.processes["tts"].pid)


async def test_a_program_that_cannot_be_started_at_all_is_named(tmp_path: Path) -> None:
    missing = Launch(TTS, (sys.executable, "-m", "no_such_module"), "127.0.0.1", 1.0)
    stack = Stack([missing], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        with pytest.raises(CliError, match=r"the text-to-speech service ended while loading: .*no_such_module"):
            await stack.start()


async def test_errors_in_the_json_log_are_last_words_too(tmp_path: Path) -> None:
    words = '--says={"level": "ERROR", "message": "out of memory"}'
    stack = Stack([launch(STT, words, "--dies=3")], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        with pytest.raises(CliError, match="the speech-to-text service ended while loading: out of memory"):
            await stack.start()


async def test_without_last_words_there_is_the_exit_code(tmp_path: Path) -> None:
    stack = Stack([launch(STT, "--dies=3")], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        with pytest.raises(CliError, match="the speech-to-text service ended while loading: exit code 3"):
            await stack.start()


async def test_logs_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "stt.log").write_text("long ago\n")
    stack = Stack([launch(STT, "--says=now")], log_dir=tmp_path)
    async with stopped_at_the_end(stack):
        await stack.start()
    assert (tmp_path / "stt.log").read_text().startswith("now\n")


async def test_a_program_that_dies_later_is_named_and_comes_back_on_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "RESTART_DELAY_S", 0.01)
    reports: asyncio.Queue[str] = asyncio.Queue()
    stack = Stack([launch(STT)], log_dir=tmp_path, report=reports.put_nowait)
    async with stopped_at_the_end(stack):
        await stack.start()
        address, pid = stack.addresses["stt"], stack.processes["stt"].pid
        supervising = asyncio.create_task(stack.supervise())
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert "the speech-to-text service ended: killed by SIGKILL" in await reports.get()
        assert await reports.get() == "the speech-to-text service is back"
        assert stack.addresses["stt"] == address
        assert stack.processes["stt"].pid != pid
        supervising.cancel()
        await asyncio.gather(supervising, return_exceptions=True)


async def test_a_program_that_dies_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "RESTART_DELAY_S", 0.01)
    reports: list[str] = []
    stack = Stack([launch(STT)], log_dir=tmp_path, report=reports.append)
    async with stopped_at_the_end(stack):
        await stack.start()
        process = stack.processes["stt"]
        process.launch = launch(STT, "--dies=no more")  # what it is started with from now on
        process.kill()
        with pytest.raises(CliError, match=r"no more; .* \(given up after 3 restarts within 60 s\)"):
            await stack.supervise()
        assert len(reports) == 3
