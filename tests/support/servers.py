"""Real Parley servers as processes on free loopback ports, for tests and benchmarks."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
MODULES = {"stt": "services.stt", "llm": "services.llm", "tts": "services.tts", "orchestrator": "orchestrator"}
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


@dataclass
class RunningServer:
    """A server process: where it listens, and what it has logged so far (parsed JSON lines, raw text otherwise)."""

    name: str
    address: str
    process: asyncio.subprocess.Process
    logs: list[dict[str, object]] = field(default_factory=list)
    port: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether its log says so: all lines before have been read."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def metrics_port(self) -> object:
        """Where Prometheus reads; it was started with `--metrics_port=0`."""
        return next(entry["metrics_port"] for entry in self.logs if "metrics_port" in entry)

    async def metrics_page(self) -> str:
        """What Prometheus reads of it."""
        page = f"http://127.0.0.1:{self.metrics_port}/metrics"
        return await asyncio.to_thread(lambda: urllib.request.urlopen(page, timeout=10).read().decode())

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def running(
    name: str, *flags: str, env: dict[str, str] | None = None, through: tuple[str, ...] = ()
) -> AsyncIterator[RunningServer]:
    """Start `python -m services.NAME` with the flags, wait until it is SERVING, and stop it with SIGTERM at the end.

    Args:
        through: a module that runs the program, where it is not run as it is.

    Raises:
        RuntimeError: where it ends before it serves, with what it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *through, MODULES[name], "--port=0", "--drain_grace_s=2", *flags),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        limit=1 << 20,
    )
    assert process.stderr is not None
    started = RunningServer(name, "", process)
    reader = asyncio.create_task(_read_logs(process.stderr, started))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            started.address = f"127.0.0.1:{await started.port}"
            await _until_serving(started, reader)
        yield started
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await reader


@contextlib.asynccontextmanager
async def server(name: str, *flags: str) -> AsyncIterator[str]:
    """Like `running`, for tests that need only the address."""
    async with running(name, *flags) as started:
        yield started.address


async def _read_logs(stream: asyncio.StreamReader, started: RunningServer) -> None:
    async for line in stream:
        text = line.decode(errors="replace").strip()
        try:
            entry = json.loads(text)
        except ValueError:
            entry = text
        started.logs.append(entry if isinstance(entry, dict) else {"message": text})
        if started.logs[-1]["message"] == "listening" and not started.port.done():
            started.port.set_result(int(str(entry["port"])))
        elif started.logs[-1]["message"] == "serving":
            started.serving.set()
    if not started.port.done():
        started.port.set_exception(RuntimeError(_obituary(started)))


async def _until_serving(started: RunningServer, reader: "asyncio.Task[None]") -> None:
    listening = next(entry for entry in started.logs if "health_port" in entry)
    health_port = listening["health_port"]  # there is no TLS, whatever the other has
    address = started.address if health_port == -1 else f"127.0.0.1:{health_port}"
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), wait_for_ready=True)
        # A watch that waits for readiness outlives the process: the end of its log ends the wait.
        serving = asyncio.create_task(_serving(watch, started))
        try:
            await asyncio.wait((serving, reader), return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and serving.result():
                return
            await reader
        finally:
            watch.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    raise RuntimeError(_obituary(started))


async def _serving(watch: Any, started: RunningServer) -> bool:
    try:
        async for response in watch:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                await started.serving.wait()
                return True
    except grpc.aio.AioRpcError:
        return False
    return False


def _obituary(started: RunningServer) -> str:
    return f"{started.name} ended before it served:\n" + "\n".join(str(entry) for entry in started.logs[-10:])
