"""espeak-ng, out of process."""

import asyncio
import contextlib
import shutil
import struct
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from parley.common.v1 import audio_pb2
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common.audio import Samples
from services.common.errors import StartupError, UpstreamError
from services.tts.domain import Segment
from services.tts.engines.espeak_ng import EspeakNgEngine
from tests.support.servers import server
from tests.support.synthesis import synthesize

TEXT = "The weather is fine today, and tomorrow it will rain."
HEADER = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 22_050, 44_100, 2, 16, b"data", 0)
TABLE = " 5  en-us --/M English_(America) gmw/en-US"


def needs_espeak(test: Any) -> Any:
    """Marks a test of the real program; it is skipped where that is missing."""
    missing = shutil.which("espeak-ng") is None
    return pytest.mark.espeak(pytest.mark.skipif(missing, reason="espeak-ng is not installed")(test))


async def spoken(engine: EspeakNgEngine, text: str, rate: float = 1.0, voice: str = "en-US") -> Samples:
    by_name = {known.name: known for known in engine.voices}
    return np.concatenate([block async for block in engine.synthesize(Segment(text, by_name[voice], rate))])


def loud_seconds(samples: Samples, rate_hz: int) -> float:
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return float(loud[-1] - loud[0]) / rate_hz


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for the program can be put; nothing but `cat` and `sleep` is on the path beside it."""
    for tool in ("cat", "sleep"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    (tmp_path / "header").write_bytes(HEADER)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "espeak-ng"


def write(program: Path, on_speech: str) -> None:
    """A program that lists one voice, says its rate, and does `on_speech` with text on its standard input."""
    lines = [
        "#!/bin/sh",
        f'if [ "$1" = --voices ]; then echo "{TABLE}"; exit; fi',
        f"cat {program.parent}/header",
        '[ "$1" = --stdin ] || exit 0',
        on_speech,
    ]
    make(program, lines)


def make(program: Path, lines: list[str]) -> None:
    program.write_text("\n".join(lines) + "\n")
    program.chmod(0o755)


def speaking() -> psutil.Process:
    """The stand-in at work, which has become `sleep`."""
    (child,) = [child for child in psutil.Process().children() if child.name() in ("sleep", "espeak-ng", "sh")]
    return child


async def test_a_missing_program_is_named_with_the_way_to_get_it(program: Path) -> None:
    with pytest.raises(StartupError, match="--tts espeak-ng needs the program espeak-ng; apt-get install espeak-ng"):
        await EspeakNgEngine().load()


async def test_a_program_that_fails_at_once_is_named(program: Path) -> None:
    make(program, ["#!/bin/sh", "exit 1"])
    with pytest.raises(StartupError, match="the program espeak-ng does not work"):
        await EspeakNgEngine().load()


async def test_a_failure_in_mid_speech_is_an_error_without_a_word_of_the_program(program: Path) -> None:
    write(program, "cat > /dev/null; printf 'abcd'; echo /usr/share/secret >&2; exit 3")
    engine = EspeakNgEngine()
    await engine.load()
    with pytest.raises(UpstreamError, match=r"^the speech program failed$"):
        await spoken(engine, "Hello.")


async def test_audio_is_there_before_the_program_has_ended_and_leaving_kills_it(program: Path) -> None:
    write(program, "cat > /dev/null; printf 'abcdefgh'; exec sleep 3600")
    engine = EspeakNgEngine()
    await engine.load()
    async with contextlib.aclosing(engine.synthesize(Segment("Hello.", engine.voices[0]))) as blocks:
        assert len(await anext(blocks)) == 4
        child = speaking()
    assert not child.is_running()


async def test_cancelling_kills_the_program(program: Path) -> None:
    write(program, "cat > /dev/null; printf 'abcdefgh'; exec sleep 3600")
    engine = EspeakNgEngine()
    await engine.load()
    heard = asyncio.Event()

    async def listen() -> None:
        async for _ in engine.synthesize(Segment("Hello.", engine.voices[0])):
            heard.set()

    listener = asyncio.create_task(listen())
    await heard.wait()
    child = speaking()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    assert not child.is_running()


@needs_espeak
async def test_text_is_never_taken_for_an_option_or_phonemes() -> None:
    engine = EspeakNgEngine()
    await engine.load()
    option, letter = await spoken(engine, "-x --version"), await spoken(engine, "version")
    assert len(option) > len(letter)
    assert loud_seconds(await spoken(engine, "[[h@loU h@loU h@loU]]"), 22_050) > 1.5


@needs_espeak
@pytest.mark.parametrize(("rate", "tolerance"), [(0.25, 0.05), (0.5, 0.05), (2.0, 0.1), (4.0, 0.15)])
async def test_the_speaking_rate_is_what_was_asked_for(rate: float, tolerance: float) -> None:
    engine = EspeakNgEngine()
    await engine.load()
    normal = loud_seconds(await spoken(engine, TEXT), 22_050)
    assert loud_seconds(await spoken(engine, TEXT, rate), 22_050) == pytest.approx(normal / rate, rel=tolerance)


@needs_espeak
async def test_other_languages_and_scripts_are_spoken() -> None:
    engine = EspeakNgEngine()
    await engine.load()
    assert loud_seconds(await spoken(engine, "Привет, как дела?", voice="ru"), 22_050) > 0.7
    assert loud_seconds(await spoken(engine, "你好，世界", voice="cmn"), 22_050) > 0.7


@needs_espeak
async def test_the_server_speaks_with_it_in_the_format_asked_for_and_leaves_no_process() -> None:
    mulaw = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8_000, channel_count=1)
    async with server("tts", "--tts", "espeak-ng") as address:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = pb_grpc.TextToSpeechServiceStub(channel)
            voices = (await stub.ListVoices(pb.ListVoicesRequest(language_code="en"))).voices
            assert {"en-US", "en"} <= {voice.name for voice in voices}
            assert {voice.engine for voice in voices} == {"espeak-ng"}
        for request in (pb.SynthesizeRequest(text=TEXT, audio_format=mulaw), pb.SynthesizeRequest(text=TEXT)):
            result = await synthesize(address, request)
            result.check_contract()
            assert loud_seconds(result.samples, result.audio_format.sample_rate_hz) > 2
            assert b"RIFF" not in result.data
        german = await synthesize(address, pb.SynthesizeRequest(text="Guten Tag", language_code="de"))
        assert german.started.voice == "de"


async def test_it_speaks_what_the_embedded_voice_cannot_read() -> None:
    async with server("tts", "--tts_fallback_voice=espeak-ng") as address:
        english = await synthesize(address, pb.SynthesizeRequest(text="Hello there."))
        russian = await synthesize(address, pb.SynthesizeRequest(text="Привет, как дела?"))
        german = await synthesize(address, pb.SynthesizeRequest(text="Guten Tag.", language_code="de"))
    for result, voice in ((english, "heart"), (russian, "ru"), (german, "de")):
        result.check_contract()
        assert result.started.voice == voice
        assert np.abs(result.samples).max() > 0.1
