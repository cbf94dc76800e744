"""The STT program with its fake engine: the contract, bad input, cancellation. No model is needed."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from parley.common.v1 import audio_pb2
from parley.stt.v1 import stt_service_pb2 as pb
from parley.stt.v1 import stt_service_pb2_grpc as pb_grpc

from tests.support.servers import running, server
from tests.support.stt_client import FORCE, audio, config, opening, stream, transcribe
from tests.support.stt_doubles import pcm16, silence, speech

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTENCE = pcm16(silence(0.5), speech(1), silence(1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[str]:
    async with server("stt", "--stt", "fake", "--fake_transcript", "This is a fake transcript.") as started:
        yield started


def detail(error: grpc.aio.AioRpcError | None) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and field of an error."""
    assert error is not None
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    reason = field = ""
    for packed in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if packed.Unpack(info):
            reason = info.reason
        elif packed.Unpack(bad):
            field = bad.field_violations[0].field
    return error.code(), reason, field


async def test_a_live_stream_gives_started_stopped_transcript_completed(address: str) -> None:
    heard = await stream(address, [opening(), *audio(SENTENCE)])
    assert heard.kinds == ["speech_started", "speech_stopped", "transcript", "completed"]
    assert heard.finals[0].text == "This is a fake transcript."
    assert len({event.utterance_id for kind in heard.kinds[:3] for event in heard.of(kind)}) == 1
    assert heard.of("completed")[0].audio_duration.ToMilliseconds() == 2_500


async def test_a_recording_gives_transcript_completed(address: str) -> None:
    heard = await transcribe(address, SENTENCE)
    assert heard.kinds == ["transcript", "completed"]
    assert heard.finals[0].is_final
    assert heard.of("completed")[0].model == "fake"


async def test_push_to_talk_answers_each_release_in_order(address: str) -> None:
    second = pcm16(silence(1))
    messages = [opening(manual_end=True), *audio(second), FORCE, FORCE, *audio(second), FORCE]
    heard = await stream(address, messages)
    assert [final.text for final in heard.finals] == ["This is a fake transcript.", "", "This is a fake transcript."]
    assert [stopped.offset.ToMilliseconds() for stopped in heard.of("speech_stopped")] == [1_000, 1_000, 2_000]
    assert heard.kinds[-1] == "completed"


async def test_the_model_is_listed(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        listed = await pb_grpc.SpeechToTextServiceStub(channel).ListModels(pb.ListModelsRequest())
    (model,) = listed.models
    assert (model.name, model.engine, model.native_sample_rate_hertz) == ("fake", "fake", 16_000)
    heard = await stream(address, [opening(config(model=model.name)), *audio(SENTENCE)])
    assert heard.error is None


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "config"),
        (audio(SENTENCE), "config"),
        ([FORCE], "config"),
        ([opening(), opening()], "config"),
        ([opening(), pb.StreamingTranscribeRequest()], "request"),
        ([opening(config(language_code="xx"))], "config.config.language_code"),
        (
            [opening(config(audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=7_000)))],
            "config.config.audio_format.sample_rate_hertz",
        ),
        ([opening(speech_threshold=2.0)], "config.endpointing.speech_threshold"),
    ],
)
async def test_a_bad_stream_is_an_invalid_argument_that_names_the_field_and_the_server_goes_on(
    address: str, messages: list[pb.StreamingTranscribeRequest], field: str
) -> None:
    heard = await stream(address, messages)
    assert heard.error is not None
    code, _, named = detail(heard.error)
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert (await stream(address, [opening(), *audio(SENTENCE)])).error is None


@pytest.mark.parametrize("manual_end", [False, True])
async def test_edge_29_a_wav_header_is_refused_as_what_it_is(address: str, manual_end: bool) -> None:
    heard = await stream(address, [opening(manual_end=manual_end), *audio(b"RIFF\x24\x00\x00\x00WAVE" + bytes(3_200))])
    assert detail(heard.error) == (grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_AUDIO_FORMAT", "audio")
    assert "WAV" in str(heard.error)


@pytest.mark.parametrize("manual_end", [False, True])
async def test_edge_29_half_a_sample_at_the_end_is_refused_after_the_final_transcript(
    address: str, manual_end: bool
) -> None:
    end = [FORCE] if manual_end else []
    heard = await stream(address, [opening(manual_end=manual_end), *audio(SENTENCE + b"x"), *end])
    assert len(heard.finals) == 1
    assert "completed" not in heard.kinds
    assert detail(heard.error) == (grpc.StatusCode.INVALID_ARGUMENT, "UNSUPPORTED_AUDIO_FORMAT", "audio")


async def test_edge_29_half_samples_across_messages_are_no_matter(address: str) -> None:
    heard = await stream(address, [opening(), *audio(SENTENCE, chunk_bytes=333)])
    assert heard.error is None
    assert len(heard.finals) == 1


async def test_edge_29_no_audio_at_all_completes(address: str) -> None:
    assert (await stream(address, [opening(), *audio(b""), pb.StreamingTranscribeRequest(audio=b"")])).kinds == [
        "completed"
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "INVALID_ARGUMENT"),
        (SENTENCE + b"x", "UNSUPPORTED_AUDIO_FORMAT"),
        (b"RIFF" + bytes(100), "UNSUPPORTED_AUDIO_FORMAT"),
        (bytes(61 * 32_000), "AUDIO_TOO_LONG"),
        (bytes(5 << 20), "AUDIO_TOO_LONG"),
    ],
)
async def test_a_bad_recording_is_an_invalid_argument_that_names_audio(address: str, data: bytes, reason: str) -> None:
    heard = await transcribe(address, data)
    assert detail(heard.error) == (grpc.StatusCode.INVALID_ARGUMENT, reason, "audio")
    assert heard.events == []


async def test_a_message_over_the_size_limit_is_resource_exhausted(address: str) -> None:
    heard = await transcribe(address, bytes(9 << 20))
    assert heard.error is not None
    assert heard.error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await transcribe(address, SENTENCE)).error is None


async def test_an_unknown_model_is_not_found(address: str) -> None:
    heard = await transcribe(address, SENTENCE, config(model="whisper-huge"))
    assert detail(heard.error) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "config.model")
    heard = await stream(address, [opening(config(model="whisper-huge"))])
    assert detail(heard.error) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "config.config.model")


async def test_interim_results_come_only_when_asked_for(address: str) -> None:
    long = pcm16(speech(3), silence(1))
    assert (await stream(address, [opening(), *audio(long)])).interims == []
    assert (await stream(address, [opening(config(enable_interim_results=True)), *audio(long)])).interims != []


async def test_streams_beyond_the_limit_are_refused_and_told_when_to_come_again() -> None:
    async with (
        server("stt", "--stt", "fake", "--stt_max_streams", "1") as limited,
        grpc.aio.insecure_channel(limited) as channel,
    ):
        stub = pb_grpc.SpeechToTextServiceStub(channel)
        first: grpc.aio.StreamStreamCall[pb.StreamingTranscribeRequest, pb.StreamingTranscribeResponse]
        first = stub.StreamingTranscribe()
        await first.write(opening(manual_end=True))
        await first.write(FORCE)
        await first.read()  # it is open
        refused = await stream(limited, [opening()])
        assert detail(refused.error)[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        first.cancel()
        async with asyncio.timeout(10):  # the place comes free when the server hears of it
            while (await stream(limited, [opening()])).error is not None:
                pass


async def test_a_stream_of_which_nothing_comes_any_more_ends_with_its_last_words_and_gives_its_place_back() -> None:
    flags = ("--stt", "fake", "--stt_max_streams", "1", "--stt_idle_timeout_s", "0.5")
    async with server("stt", *flags) as limited, grpc.aio.insecure_channel(limited) as channel:
        stub = pb_grpc.SpeechToTextServiceStub(channel)
        call: grpc.aio.StreamStreamCall[pb.StreamingTranscribeRequest, pb.StreamingTranscribeResponse]
        call = stub.StreamingTranscribe()
        await call.write(opening())
        for message in audio(SENTENCE[: len(SENTENCE) * 3 // 5]):  # nobody has stopped speaking yet
            await call.write(message)
        async with asyncio.timeout(10):
            kinds = [event.WhichOneof("event") async for event in call]
        assert kinds == ["speech_started", "speech_stopped", "transcript", "completed"]
        assert await call.code() is grpc.StatusCode.OK
        silent = stub.StreamingTranscribe()
        async with asyncio.timeout(10):
            assert await silent.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_leaves_takes_its_work_with_it() -> None:
    flags = (
        "--stt",
        "fake",
        "--fake_stt_delay_ms",
        "600000",
        "--stt_max_streams",
        "1",
        "--stt_max_transcriptions",
        "1",
    )
    async with running("stt", *flags) as started, grpc.aio.insecure_channel(started.address) as channel:
        stub = pb_grpc.SpeechToTextServiceStub(channel)
        for _ in range(3):
            call = stub.StreamingTranscribe()
            await call.write(opening(manual_end=True))
            await call.write(audio(SENTENCE)[0])
            await call.write(FORCE)
            while (await call.read()).WhichOneof("event") != "speech_stopped":
                pass
            call.cancel()
            async with asyncio.timeout(10):
                while (await stream(started.address, [opening()])).error is not None:
                    pass
        recording = stub.Transcribe(pb.TranscribeRequest(config=config(), audio=SENTENCE))
        recording.cancel()
        assert not [entry for entry in started.logs if entry.get("level") in ("ERROR", "WARNING")]
