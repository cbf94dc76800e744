"""Speech through an API: what is made of answers, and of failures. The server is a double."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.common import errors
from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.settings import load
from services.tts import engines
from services.tts.domain import Segment
from services.tts.engines.base import Engine
from services.tts.engines.openai_api import pieces, voices_in
from services.tts.settings import TtsSettings
from tests.support.speech_server import wav_header

NATIVE = AudioFormat(Encoding.PCM_S16LE, 22_050)


@dataclass
class Provider:
    """Answers every request for speech with this, and lists no voices."""

    status: int = 200
    content_type: str = "audio/wav"
    body: bytes = wav_header(NATIVE) + bytes(4410)
    length: int | None = None
    """What it says that the body has; it closes the connection after it."""
    url: str = ""


@contextlib.asynccontextmanager
async def providing(provider: Provider) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.partition(b":")[2]))
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        else:
            size = len(provider.body) if provider.length is None else provider.length
            lines = f"content-type: {provider.content_type}\r\ncontent-length: {size}\r\nconnection: close"
            writer.write(f"HTTP/1.1 {provider.status} X\r\n{lines}\r\n\r\n".encode() + provider.body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield


@contextlib.asynccontextmanager
async def loaded(provider: Provider, *flags: str) -> AsyncIterator[Engine]:
    argv = ["--tts", "openai-api", "--tts_api_base_url", provider.url, "--tts_api_max_retries", "0", *flags]
    engine = engines.build(load(TtsSettings, "parley-tts", argv))
    try:
        await engine.load()
        yield engine
    finally:
        await engine.aclose()


async def speak(engine: Engine) -> list[Samples]:
    return [block async for block in engine.synthesize(Segment("Hello.", engine.voices[0]))]


@pytest.mark.parametrize(
    ("flags", "content_type", "body", "rate_hz"),
    [
        ((), "audio/wav", wav_header(NATIVE) + bytes(4410), 22_050),
        (("--tts_api_response_format", "pcm"), "audio/pcm; rate=16000", bytes(320), 16_000),
        (("--tts_api_response_format", "pcm"), "audio/pcm", bytes(480), 24_000),
        (("--tts_api_response_format", "pcm"), "audio/pcm\r\nx-sample-rate: 8000", bytes(160), 8_000),
        (("--tts_api_response_format", "pcm"), "audio/x-wav", wav_header(NATIVE) + bytes(4410), 22_050),
    ],
)
async def test_the_answer_tells_its_rate(flags: tuple[str, ...], content_type: str, body: bytes, rate_hz: int) -> None:
    provider = Provider(content_type=content_type, body=body)
    async with providing(provider), loaded(provider, *flags) as engine:
        assert {voice.native_format.sample_rate_hz for voice in engine.voices} == {rate_hz}


async def test_an_answer_at_another_rate_is_converted() -> None:
    provider = Provider()
    async with providing(provider), loaded(provider) as engine:
        provider.body = wav_header(AudioFormat(Encoding.PCM_S16LE, 44_100)) + bytes(88_200)
        assert sum(map(len, await speak(engine))) == pytest.approx(22_050, abs=2)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.UpstreamUnauthenticatedError),
        (404, errors.ModelNotFoundError),
        (429, errors.UpstreamRateLimitedError),
        (400, errors.InvalidArgumentError),
        (500, errors.UpstreamError),
    ],
)
async def test_a_failure_is_told_in_words_of_ours(status: int, kind: type[errors.ParleyError]) -> None:
    provider = Provider()
    async with providing(provider), loaded(provider) as engine:
        provider.status, provider.body = status, b'{"error": {"message": "key sk-secret is wrong"}}'
        with pytest.raises(errors.ParleyError) as failed:
            await speak(engine)
    assert type(failed.value) is kind
    assert "secret" not in failed.value.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Provider(content_type="audio/mpeg"), "sends audio/mpeg instead of wav"),
        (Provider(body=b"<html>"), "sends no WAV file"),
        (Provider(body=wav_header(NATIVE)), "sends no audio"),
        (Provider(length=100_000), "broke off"),
    ],
)
async def test_an_answer_without_speech_is_an_error_and_not_silence(answer: Provider, message: str) -> None:
    provider = Provider()
    async with providing(provider), loaded(provider) as engine:
        provider.content_type, provider.body, provider.length = answer.content_type, answer.body, answer.length
        with pytest.raises(errors.UpstreamError, match=message):
            await speak(engine)


async def test_a_provider_that_refuses_ends_the_start_and_one_that_is_away_does_not() -> None:
    refusing = Provider(status=401)
    async with providing(refusing):
        with pytest.raises(errors.StartupError, match="credentials"):
            async with loaded(refusing):
                pass
    async with loaded(refusing, "--tts_api_voices", "ann, bob") as engine:  # nobody listens there any more
        assert [voice.name for voice in engine.voices] == ["ann", "bob"]
        with pytest.raises(errors.UpstreamError, match="not reachable"):
            await speak(engine)


async def test_without_a_key_openai_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(errors.StartupError, match="OPENAI_API_KEY or PARLEY_TTS_API_KEY"):
        await engines.build(load(TtsSettings, "parley-tts", ["--tts", "openai-api"])).load()


def test_lists_of_voices_come_in_several_forms() -> None:
    assert voices_in({"voices": ["ann", "bob", "ann"]}) == ("ann", "bob")
    assert voices_in([{"id": "ann"}, {"name": "bob"}, {}, 7]) == ("ann", "bob")
    assert voices_in({"voices": 7}) == voices_in("no") == ()


def test_a_long_text_is_asked_for_in_whole_sentences_and_few_of_them_first() -> None:
    assert list(pieces("One. Two.")) == ["One. Two."]
    sentence = f"{'word ' * 19}word."
    first, *others = pieces(" ".join([sentence] * 50))
    assert first == " ".join([sentence] * 2)
    assert " ".join([first, *others]) == " ".join([sentence] * 50)
    assert all(300 < len(piece) <= 2000 for piece in others)
    assert [len(piece) for piece in pieces("a" * 4100)] == [2000, 2000, 100]
