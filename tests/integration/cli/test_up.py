"""`parley up` as a user runs it: four real programs with fake engines."""

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.support.commands import FAKES, Command, parley

FREE = ("--port", "0", "--stt_port", "0", "--llm_port", "0", "--tts_port", "0")


async def ready(up: Command) -> str:
    """The orchestrator's address, once all are ready."""
    return (await up.until("Parley is ready at")).split()[4].rstrip(".")


def children(up: Command) -> dict[str, int]:
    """Process ids of the programs, by module."""
    return {child.cmdline()[2]: child.pid for child in psutil.Process(up.pid).children()}


def none_lives(pids: dict[str, int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids.values())


async def test_one_ctrl_c_ends_everything(tmp_path: Path) -> None:
    async with parley("up", *FREE, *FAKES, "--log_dir", str(tmp_path)) as up:
        await ready(up)
        pids = children(up)
        assert set(pids) == {"services.stt", "services.llm", "services.tts", "orchestrator"}
        up.process.send_signal(signal.SIGINT)
        code, out, err = await up.ended()
    assert (code, err) == (0, "")
    assert none_lives(pids)
    for name in ("stt", "llm", "tts", "orchestrator"):
        assert f"{name}: ready after" in out
        assert '"message": "stopped"' in (tmp_path / f"{name}.log").read_text()


async def test_ctrl_c_while_loading_ends_everything_too(tmp_path: Path) -> None:
    async with parley("up", *FREE, *FAKES, "--log_dir", str(tmp_path)) as up:
        await up.until("loading")
        pids = children(up)
        up.process.send_signal(signal.SIGINT)
        code, out, err = await up.ended()
    assert (code, err) == (130, "")
    assert "Parley is ready" not in out
    assert none_lives(pids)


async def test_a_port_that_is_taken_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with parley("up", *FREE[:-2], "--tts_port", port, *FAKES, "--log_dir", str(tmp_path)) as up:
            code, _, err = await up.ended()
    assert code == 1
    assert err.startswith(f"parley: the text-to-speech service ended while loading: cannot listen on 127.0.0.1:{port}")
    assert err.count("\n") == 1


async def test_a_service_that_dies_is_named_and_comes_back(tmp_path: Path, question: Path) -> None:
    settings = {"PARLEY_FAKE_TRANSCRIPT": "Words of the environment."}
    async with parley("up", *FREE, *FAKES, "--log_dir", str(tmp_path), env=settings) as up:
        address = await ready(up)
        os.kill(children(up)["services.stt"], signal.SIGKILL)
        line = await up.until("ended")
        assert line.startswith("the speech-to-text service ended: killed by SIGKILL")
        await up.until("the speech-to-text service is back")
        async with parley("talk", str(question), "--target", address) as talk:
            code, out, err = await talk.ended()
    assert (code, err) == (0, "")
    assert "You:     Words of the environment." in out
    assert "Parley:" in out


async def test_logs_can_be_watched(tmp_path: Path) -> None:
    async with parley("up", *FREE, *FAKES, "--verbose", "--log_dir", str(tmp_path)) as up:
        line = await up.until("listening")
        assert line.split()[2:4] == ["info", "listening"]


@pytest.mark.parametrize("words", [("--tts", "nonsense"), ("--nonsense", "1")])
async def test_wrong_flags_end_at_once(words: tuple[str, str]) -> None:
    async with parley("up", *words) as up:
        code, out, err = await up.ended()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
