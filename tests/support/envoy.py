"""A real Envoy as a process on free loopback ports, for tests: a file of deploy/envoy with its addresses replaced."""

import asyncio
import contextlib
import shutil
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.servers import ROOT

FOLDER = ROOT / "deploy" / "envoy"
PROGRAM = shutil.which("envoy", path=str(Path(sys.executable).parent))
needs_envoy = pytest.mark.skipif(PROGRAM is None, reason="Envoy is not installed: make install-deploy")
START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Envoy:
    """A running one."""

    process: asyncio.subprocess.Process
    admin_port: int


def write_certificate(folder: Path) -> bytes:
    """A certificate of this host as tls.crt and tls.key; returns that of its authority."""
    authority = Authority(folder)
    own = authority.certify("localhost", "127.0.0.1")
    shutil.copy(own.cert, folder / "tls.crt")
    shutil.copy(own.key, folder / "tls.key")
    return authority.cert.read_bytes()


def write_config(name: str, folder: Path, changes: Mapping[str, str]) -> Path:
    """A copy of deploy/envoy/NAME in `folder` with pieces of its text replaced; each must be there."""
    text = (FOLDER / name).read_text("utf-8")
    for old, new in changes.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    (folder / name).write_text(text, "utf-8")
    return folder / name


@contextlib.asynccontextmanager
async def running_envoy(config: Path, admin_port: int, *flags: str) -> AsyncIterator[Envoy]:
    """Start it, wait until it is live, and end it.

    Raises:
        RuntimeError: where it ends at once, with what it printed.
    """
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", *flags),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    reader = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await asyncio.to_thread(_live, admin_port):
                if process.returncode is not None:
                    raise RuntimeError("Envoy ended:\n" + (await reader).decode()[-2000:])
        yield Envoy(process, admin_port)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reader


def _live(admin_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
