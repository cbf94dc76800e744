"""Another vendor's HTTP server as a process of its own, on a free loopback port."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType

import httpx2

START_S = 90.0


@contextlib.asynccontextmanager
async def http_program(
    arguments: Sequence[str], probe_path: str, env: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[str]:
    """Python with these arguments and `--port`, until the block ends; yields its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments, "--port", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **env},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_S), httpx2.AsyncClient() as client:
            while True:
                assert process.returncode is None, "the server ended before it served"
                with contextlib.suppress(httpx2.TransportError):
                    await client.get(f"{address}{probe_path}")
                    break
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
