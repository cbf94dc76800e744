"""A real Redis server as a process on a free loopback port, for tests and benchmarks."""

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import AsyncIterator

import pytest

START_TIMEOUT_S = 20.0
missing = shutil.which("redis-server") is None
needs_redis = pytest.mark.skipif(missing, reason="the program redis-server is not installed")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RedisServer:
    """Keeps nothing on disk: what it held is gone when it starts again."""

    def __init__(self, *flags: str) -> None:
        self.port = free_port()
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self._flags = flags
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"),
            *self._flags,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._answers():
                assert self._process.returncode is None, "redis-server has ended"
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def pause(self) -> None:
        """Let it hang: it takes connections, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline())[:1] in (b"+", b"-")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def redis_server(*flags: str) -> AsyncIterator[RedisServer]:
    """A running one, killed at the end."""
    server = RedisServer(*flags)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
