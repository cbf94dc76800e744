"""A real server of `/v1/audio/transcriptions` (PyPI faster-whisper-server) with Whisper base behind it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import yaml

from services.common.settings import load
from services.stt import weights
from services.stt.settings import SttSettings
from tests.support.http_program import http_program


@contextlib.asynccontextmanager
async def transcription_server(folder: Path) -> AsyncIterator[str]:
    """The server, its configuration in this folder; yields its base URL. Its model's name is whisper-1."""
    model = weights.locate("package:whisper-base", load(SttSettings, "parley-stt", []).cache_dir).source
    light = {"model_options": {"compute_type": "int8", "cpu_threads": 2}, "transcribe_options": {"beam_size": 1}}
    config = folder / "server.yaml"
    config.write_text(yaml.safe_dump({"models": [{"name": "whisper-1", "path": model, **light}]}))
    program = ("-m", "faster_whisper_server", "--config", str(config), "--host", "127.0.0.1")
    async with http_program(program, "/health") as address:
        yield f"{address}/v1"
