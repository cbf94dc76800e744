"""The TTS server as clients see it, with the scripted engine."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from parley.common.v1 import audio_pb2
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common.errors import (
    InvalidArgumentError,
    OverloadedError,
    ParleyError,
    TextTooLongError,
    UnsupportedAudioError,
    VoiceNotFoundError,
)
from services.common.status import from_rpc_error
from tests.support.servers import server
from tests.support.synthesis import synthesize


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with server("tts", "--tts", "fake", "--fake_tts_ms_per_character", "50") as started:
        yield started


def audio_format(encoding: int, rate: int, channels: int = 1) -> audio_pb2.AudioFormat:
    return audio_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=rate, channel_count=channels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        audio_format(audio_pb2.AUDIO_ENCODING_PCM_S16LE, 48_000, 2),
        audio_format(audio_pb2.AUDIO_ENCODING_PCM_F32LE, 16_000),
        audio_format(audio_pb2.AUDIO_ENCODING_MULAW, 8_000),
        audio_format(audio_pb2.AUDIO_ENCODING_ALAW, 8_000),
    ],
    ids=["native", "stereo", "float", "mulaw", "alaw"],
)
async def test_the_format_asked_for_is_what_comes(address: str, wanted: audio_pb2.AudioFormat | None) -> None:
    result = await synthesize(address, pb.SynthesizeRequest(text="twenty characters ..", audio_format=wanted))
    result.check_contract()
    native = audio_format(audio_pb2.AUDIO_ENCODING_PCM_S16LE, 24_000)
    assert result.started.audio_format == (wanted or native)
    assert result.started.voice == "fake"
    assert len(result.samples) == pytest.approx(result.audio_format.sample_rate_hz, abs=2)
    assert result.completed.character_count == 20
    assert all(19.9 <= duration <= 100 for duration in result.durations_ms)
    assert result.durations_ms[0] <= 40
    spectrum = np.abs(np.fft.rfft(result.samples * np.hanning(len(result.samples))))
    hertz = np.argmax(spectrum) * result.audio_format.sample_rate_hz / len(result.samples)
    assert hertz == pytest.approx(400, abs=3)


async def test_audio_alone_comes_where_nothing_else_is_wanted(address: str) -> None:
    result = await synthesize(address, pb.SynthesizeRequest(text="Twenty characters ok", audio_only=True))
    assert set(result.order) == {"audio"}


async def test_text_with_nothing_to_say_is_completed_without_audio(address: str) -> None:
    result = await synthesize(address, pb.SynthesizeRequest(text="…"))
    assert result.order == ["started", "completed"]
    result.check_contract()


@pytest.mark.parametrize(
    ("request_", "kind", "field"),
    [
        (pb.SynthesizeRequest(), InvalidArgumentError, "text"),
        (pb.SynthesizeRequest(text=" \n"), InvalidArgumentError, "text"),
        (pb.SynthesizeRequest(text="a" * 5001), TextTooLongError, "text"),
        (pb.SynthesizeRequest(text="a", voice="nobody"), VoiceNotFoundError, "voice"),
        (pb.SynthesizeRequest(text="a", voice="v" * 1_000_000), VoiceNotFoundError, "voice"),
        (pb.SynthesizeRequest(text="a", speaking_rate=0), InvalidArgumentError, "speaking_rate"),
        (pb.SynthesizeRequest(text="a", speaking_rate=4.5), InvalidArgumentError, "speaking_rate"),
        (pb.SynthesizeRequest(text="a", speaking_rate=float("nan")), InvalidArgumentError, "speaking_rate"),
        (
            pb.SynthesizeRequest(text="a", audio_format=audio_pb2.AudioFormat()),
            UnsupportedAudioError,
            "audio_format.encoding",
        ),
        (
            pb.SynthesizeRequest(text="a", audio_format=audio_format(1, 7_000)),
            UnsupportedAudioError,
            "audio_format.sample_rate_hertz",
        ),
        (
            pb.SynthesizeRequest(text="a", audio_format=audio_format(1, 8_000, 99)),
            UnsupportedAudioError,
            "audio_format.channel_count",
        ),
    ],
)
async def test_bad_input_names_the_field_and_the_server_goes_on(
    address: str, request_: pb.SynthesizeRequest, kind: type[ParleyError], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await synthesize(address, request_)
    back = from_rpc_error(caught.value)
    assert type(back) is kind
    assert back.field == field
    assert str(caught.value.details()).startswith(f"{field}: ")
    (await synthesize(address, pb.SynthesizeRequest(text="still here"))).check_contract()


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(address: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await synthesize(address, pb.SynthesizeRequest(text="a" * (9 << 20)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (await synthesize(address, pb.SynthesizeRequest(text="still here"))).check_contract()


async def test_voices_are_listed_and_filtered_by_language(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.TextToSpeechServiceStub(channel)
        (voice,) = (await stub.ListVoices(pb.ListVoicesRequest())).voices
        assert (voice.name, voice.engine, list(voice.language_codes)) == ("fake", "fake", ["mul"])
        assert voice.native_audio_format == audio_format(audio_pb2.AUDIO_ENCODING_PCM_S16LE, 24_000)
        assert not (await stub.ListVoices(pb.ListVoicesRequest(language_code="de"))).voices


async def test_more_than_may_run_and_wait_are_refused_and_a_cancelled_one_makes_room() -> None:
    flags = ("--tts", "fake", "--fake_tts_delay_ms", "3600000", "--tts_max_running", "1", "--tts_max_waiting", "0")
    async with server("tts", *flags) as address, grpc.aio.insecure_channel(address) as channel:
        stub = pb_grpc.TextToSpeechServiceStub(channel)
        first = stub.Synthesize(pb.SynthesizeRequest(text="one"))
        assert (await first.read()).started.voice == "fake"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await synthesize(address, pb.SynthesizeRequest(text="two"))
        back = from_rpc_error(caught.value)
        assert type(back) is OverloadedError
        assert 1.0 <= (back.retry_after_s or 0) <= 2.0

        first.cancel()
        # The place is free once the server has heard of it; until then it refuses.
        async with asyncio.timeout(30):
            while not await admitted(stub):
                pass


async def admitted(stub: pb_grpc.TextToSpeechServiceStub) -> bool:
    call = stub.Synthesize(pb.SynthesizeRequest(text="three"))
    try:
        return bool((await call.read()).started.voice == "fake")
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    finally:
        call.cancel()


async def test_many_at_once_are_all_answered_whole(address: str) -> None:
    texts = ["x" * length for length in range(1, 41)]
    results = await asyncio.gather(*(synthesize(address, pb.SynthesizeRequest(text=text)) for text in texts))
    for text, result in zip(texts, results, strict=True):
        result.check_contract()
        assert len(result.data) == 2 * round(len(text) * 0.05 * 24_000)


async def test_an_unknown_default_voice_ends_the_start_with_one_line() -> None:
    with pytest.raises(RuntimeError, match="--tts_voice: fake has no voice 'fak'; did you mean 'fake'"):
        async with server("tts", "--tts", "fake", "--tts_voice", "fak"):
            pass
