"""The `parley` command as a process, for tests."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.servers import ROOT

FAKES = ("--stt", "fake", "--llm_backend", "fake", "--tts", "fake")
END_TIMEOUT_S = 60.0


class Command:
    """A running `parley`; its output is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: list[str] = []

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    async def until(self, text: str) -> str:
        """Read on to the next line that holds a text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(END_TIMEOUT_S):
            while line := (await self.process.stdout.readline()).decode():
                self.seen.append(line)
                if text in line:
                    return line
        raise AssertionError(f"{text!r} did not come:\n{''.join(self.seen)}{await self.errors()}")

    async def ended(self) -> tuple[int, str, str]:
        """Exit code, all output, all errors."""
        async with asyncio.timeout(END_TIMEOUT_S):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, "".join(self.seen) + out.decode(), err.decode()

    async def errors(self) -> str:
        """What it wrote to standard error."""
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@contextlib.asynccontextmanager
async def parley(
    *words: str, env: dict[str, str] | None = None, typed: Path = Path(os.devnull)
) -> AsyncIterator[Command]:
    """Run `parley WORDS` with a file as what is typed; at the end of the block it is ended if it still runs."""
    with typed.open("rb") as stdin:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *words),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()
