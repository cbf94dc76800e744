"""A real server of `/v1/audio/transcriptions` (PyPI faster-whisper-server) with Whisper base behind it."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import yaml

from services.common.settings import load
from services.stt import weights
from services.stt.settings import SttSettings

SERVER_START_S = 90.0


@contextlib.asynccontextmanager
async def transcription_server(folder: Path) -> AsyncIterator[str]:
    """The server on a free loopback port, its configuration in this folder; yields its base URL. Its model's name is
    whisper-1.
    """
    model = weights.locate("package:whisper-base", load(SttSettings, "parley-stt", []).cache_dir).source
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    light = {"model_options": {"compute_type": "int8", "cpu_threads": 2}, "transcribe_options": {"beam_size": 1}}
    config = folder / "server.yaml"
    config.write_text(yaml.safe_dump({"models": [{"name": "whisper-1", "path": model, **light}]}))
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "faster_whisper_server",
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SERVER_START_S), httpx2.AsyncClient() as client:
            while True:
                assert process.returncode is None, "the server ended before it served"
                with contextlib.suppress(httpx2.TransportError):
                    await client.get(f"http://127.0.0.1:{port}/health")
                    break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
