"""One program of the stack as a child process: started, watched until it serves, stopped."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.errors import CliError
from cli.programs import Program
from services.common.channel import open_channel

_CHUNK_BYTES = 1 << 16
_READER_GRACE_S = 1.0
_ERROR_LEVELS = ("ERROR", "CRITICAL")


class State(Enum):
    """What a program is doing, in the words of the table."""

    WAITING = "waiting"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Launch:
    """How a program is started.

    Attributes:
        command: the program and its flags, but for those that are known only when others listen.
        host: where it can be reached.
        grace_s: seconds that it gets to end after SIGTERM.
    """

    program: Program
    command: tuple[str, ...]
    host: str
    grace_s: float


class ProgramEnded(CliError):
    """A program ended that should not have."""


class ServiceProcess:
    """A program being run.

    It has a session of its own, so that a Ctrl-C in the terminal reaches the parent alone, which then stops the
    children in order.

    Args:
        log_path: file for what it prints.
        on_line: called with each line that it prints.
        on_change: called when `state` has changed.
    """

    def __init__(
        self,
        launch: Launch,
        log_path: Path,
        *,
        on_line: Callable[[str], None] = lambda _line: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.launch = launch
        self.log_path = log_path
        self.state = State.WAITING
        self.port: int | None = None
        self.metrics_port: int | None = None
        self._health_port: int | None = None
        self.began_at = self.changed_at = time.monotonic()
        self.last_error = ""
        self._on_line = on_line
        self._on_change = on_change
        self._listening = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens, as others reach it; "" until it does."""
        return f"{self.launch.host}:{self.port}" if self.port else ""

    @property
    def pid(self) -> int | None:
        """The process id; None before `start`."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *flags: str) -> None:
        """Start it with its command and these flags, and return at once."""
        self.began_at = time.monotonic()
        self._set(State.STARTING)
        self._process = await asyncio.create_subprocess_exec(
            *self.launch.command,
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())

    async def until_listening(self) -> None:
        """Wait until it has a port.

        Raises:
            ProgramEnded: where it ends first.
        """
        await self._first(self._listening.wait())

    async def until_ready(self) -> None:
        """Wait until its health is SERVING.

        Raises:
            ProgramEnded: where it ends first.
        """
        await self.until_listening()
        await self._first(self._serving())
        self._set(State.READY)

    async def ended(self) -> ProgramEnded:
        """Wait for its end; the error says how it was."""
        assert self._process is not None
        assert self._reader is not None
        code = await self._process.wait()
        await asyncio.wait({self._reader}, timeout=_READER_GRACE_S)  # a grandchild may hold the pipe open
        when = " while loading" if self.state in (State.STARTING, State.LOADING) else ""
        self._set(State.FAILED)
        cause = f"killed by {_signal_name(-code)}" if code < 0 else self.last_error or f"exit code {code}"
        return ProgramEnded(f"{self.launch.program.title} ended{when}: {cause}; its log: {self.log_path}")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to it and its children once the grace is over. Does nothing where it has ended."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), self.launch.grace_s)
            except TimeoutError:
                self.kill()
                await self._process.wait()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=_READER_GRACE_S)
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self.state is not State.FAILED:
            self._set(State.STOPPED)

    def kill(self) -> None:
        """End it and its children at once."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def resident_bytes(self) -> int | None:
        """Resident memory; None where the system does not say."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text("ascii", "replace")
        except OSError:
            return None
        line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "")
        return int(line.split()[1]) * 1024 if line else None

    async def _first(self, waited: Coroutine[Any, Any, object]) -> None:
        """Await something, or the program's end."""
        waiting, ended = asyncio.ensure_future(waited), asyncio.ensure_future(self.ended())
        try:
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise ended.result()
            await waiting
        finally:
            for task in (waiting, ended):
                task.cancel()
            await asyncio.gather(waiting, ended, return_exceptions=True)

    async def _serving(self) -> None:
        """Watch the health; the server says when it changes."""
        async with open_channel(f"{self.launch.host}:{self._health_port or self.port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while True:
                watch = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
                try:
                    async for response in watch:
                        if response.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise CliError(f"{self.launch.program.title} does not report its health") from None
                finally:
                    watch.cancel()

    async def _read(self) -> None:
        """Copy what it prints into the log file, and look for what matters in it."""
        assert self._process is not None
        assert self._process.stdout is not None
        rest = b""
        with self.log_path.open("a", encoding="utf-8", errors="replace") as log_file:
            while chunk := await self._process.stdout.read(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._line(line.decode(errors="replace"), log_file)
            if rest:
                self._line(rest.decode(errors="replace"), log_file)

    def _line(self, line: str, log_file: TextIO) -> None:
        log_file.write(line + "\n")
        log_file.flush()
        try:
            entry = json.loads(line)
        except ValueError:
            entry = line
        if not isinstance(entry, dict):
            # The last words of a program that cannot serve: "parley-llm: no such model".
            own_name = f"parley-{self.launch.program.name}: "
            self.last_error = line.strip().removeprefix(own_name) or self.last_error
        elif entry.get("level") in _ERROR_LEVELS:
            self.last_error = str(entry.get("message", ""))
        elif entry.get("message") == "listening" and not self._listening.is_set():
            self.port = int(entry["port"])
            metrics_port = int(entry.get("metrics_port", -1))
            self.metrics_port = metrics_port if metrics_port > 0 else None
            health_port = int(entry.get("health_port", -1))
            self._health_port = health_port if health_port > 0 else None
            self._set(State.LOADING)
            self._listening.set()
        self._on_line(line)

    def _set(self, state: State) -> None:
        self.state = state
        self.changed_at = time.monotonic()
        self._on_change()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
