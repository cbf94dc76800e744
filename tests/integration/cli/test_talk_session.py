"""`parley talk` against an orchestrator that behaves, and several that do not."""

import io
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
from parley.agent.v1 import agent_service_pb2 as pb
from rich.console import Console

from cli import talk
from cli.errors import CliError
from cli.talk import TalkOptions
from services.common.errors import ConversationNotFoundError
from services.common.status import to_status
from services.common.wire import duration
from tests.support.voice_agent_double import voice_agent

Requests = AsyncIterator[pb.ConverseRequest]
Responses = AsyncIterator[pb.ConverseResponse]
SPEECH_S = 0.2
AUDIO = bytes(range(256)) * 20


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    soundfile.write(path, np.full(round(SPEECH_S * 16_000), 0.25), 16_000)
    return path


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording of 0.2 s needs no silence of seconds after it."""
    monkeypatch.setattr(talk, "MIN_SILENCE_S", 0.1)
    monkeypatch.setattr(talk, "PATIENCE_S", 0.5)


async def opened(requests: Requests) -> pb.ConverseResponse:
    """Answer the first event; returns the greeting."""
    first = await anext(requests)
    assert first.WhichOneof("event") == "session_update"
    return pb.ConverseResponse(session_created=pb.SessionCreated(session_id="s1", conversation_id="c1"))


async def hear(requests: Requests, seconds: float = SPEECH_S) -> bytes:
    """Audio of so many seconds."""
    heard = b""
    async for request in requests:
        heard += request.input_audio_buffer_append.audio
        if len(heard) >= seconds * 32_000:
            break
    return heard


def question(item: str = "u1", text: str = "What is it?") -> list[pb.ConverseResponse]:
    started = pb.InputAudioBufferSpeechStarted(item_id=item, audio_start=duration(0.0))
    stopped = pb.InputAudioBufferSpeechStopped(item_id=item, audio_end=duration(SPEECH_S))
    completed = pb.InputAudioTranscriptionCompleted(item_id=item, transcript=text, language_code="en")
    return [
        pb.ConverseResponse(input_audio_buffer_speech_started=started),
        pb.ConverseResponse(input_audio_buffer_speech_stopped=stopped),
        pb.ConverseResponse(input_audio_transcription_completed=completed),
    ]


def answer(response: str = "r1", text: str = "Tea.", audio: bytes = AUDIO) -> list[pb.ConverseResponse]:
    done = pb.ResponseDone(
        response_id=response,
        status=pb.RESPONSE_STATUS_COMPLETED,
        transcript=text,
        timings=pb.TurnTimings(endpointing=duration(0.5)),
    )
    delta = pb.ResponseOutputTextDelta(response_id=response, delta=text)
    return [
        pb.ConverseResponse(response_created=pb.ResponseCreated(response_id=response)),
        pb.ConverseResponse(response_output_text_delta=delta),
        pb.ConverseResponse(response_output_audio_delta=pb.ResponseOutputAudioDelta(response_id=response, audio=audio)),
        pb.ConverseResponse(response_done=done),
    ]


async def run(recording: Path, target: str, output: Path | None = None, *, as_json: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100)
    await talk.run_file(recording, output, TalkOptions(target), as_json=as_json, console=console)
    return out.getvalue()


async def polite(requests: Requests, context: Any) -> Responses:
    yield await opened(requests)
    await hear(requests)
    for response in question() + answer():
        yield response
    async for _ in requests:  # until the client has nothing more to say
        pass


async def test_transcript_answer_and_latency_are_printed_and_the_answer_is_written(
    recording: Path, tmp_path: Path
) -> None:
    async with voice_agent(polite) as target:
        text = await run(recording, target, tmp_path / "answer.wav")
    assert "You:     What is it?" in text
    assert "Parley:  Tea." in text
    assert "end of speech decided" in text
    with soundfile.SoundFile(tmp_path / "answer.wav") as file:
        assert (file.samplerate, file.channels, file.subtype) == (24_000, 1, "PCM_16")
        assert bytes(file.buffer_read(dtype="int16")) == AUDIO


async def test_json_is_one_object_and_nothing_else(recording: Path) -> None:
    async with voice_agent(polite) as target:
        result = json.loads(await run(recording, target, as_json=True))
    assert result["conversation_id"] == "c1"
    (turn,) = result["turns"]
    assert (turn["transcript"], turn["answer"], turn["outcome"]) == ("What is it?", "Tea.", "completed")
    assert turn["first_audio_s"] > -0.1


async def test_the_recording_arrives_whole_in_its_own_format_and_silence_follows(recording: Path) -> None:
    heard = bytearray()
    formats = []

    async def script(requests: Requests, context: Any) -> Responses:
        first = await anext(requests)
        formats.append(first.session_update.session.input_audio_format.sample_rate_hertz)
        yield pb.ConverseResponse(session_created=pb.SessionCreated())
        heard.extend(await hear(requests, SPEECH_S + 0.06))
        for response in question() + answer():
            yield response
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        await run(recording, target)
    speech = np.frombuffer(bytes(heard[: round(SPEECH_S * 32_000)]), "<i2")
    assert formats == [16_000]
    assert set(speech) == {8192}
    assert not any(heard[round(SPEECH_S * 32_000) :])


async def test_two_utterances_are_two_turns(recording: Path, tmp_path: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in [*question("u1"), *answer("r1"), *question("u2", "And that?"), *answer("r2", "Milk.")]:
            yield response
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        text = await run(recording, target, tmp_path / "answer.wav")
    assert text.index("What is it?") < text.index("Tea.") < text.index("And that?") < text.index("Milk.")
    assert soundfile.info(tmp_path / "answer.wav").frames == len(AUDIO)  # two answers of half as many samples each


async def test_nothing_heard_is_an_error(recording: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match=r"no speech was heard in .*question\.wav"):
            await run(recording, target)


async def test_a_failed_turn_ends_with_the_words_of_the_orchestrator(recording: Path, tmp_path: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in question():
            yield response
        yield pb.ConverseResponse(error=pb.ErrorEvent(message="the language model service is not reachable"))
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match=r"^the language model service is not reachable$"):
            await run(recording, target, tmp_path / "answer.wav")
    assert not (tmp_path / "answer.wav").exists()


async def test_an_answer_that_failed_without_a_word_is_an_error(recording: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in [*question(), *answer()[:-1]]:
            yield response
        yield pb.ConverseResponse(response_done=pb.ResponseDone(response_id="r1", status=pb.RESPONSE_STATUS_FAILED))
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match="the answer failed"):
            await run(recording, target)


async def test_a_server_that_falls_silent_is_given_up(recording: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in question():
            yield response
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match="has been silent for"):
            await run(recording, target)


async def test_a_session_that_ends_before_the_answer_is_an_error(recording: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in question():
            yield response

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match="ended the session before the answer"):
            await run(recording, target)


async def test_a_refused_session_names_the_field(recording: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        await anext(requests)
        error = ConversationNotFoundError("no such conversation", field="session.conversation_id")
        await context.abort_with_status(to_status(error))
        yield pb.ConverseResponse()

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match=r"^session\.conversation_id: no such conversation$"):
            await run(recording, target)


async def test_another_server_at_the_address_is_told_apart(recording: Path) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with pytest.raises(CliError, match=f"what listens at 127.0.0.1:{port} is not the orchestrator"):
        await run(recording, f"127.0.0.1:{port}")
    await server.stop(0)


async def test_a_recording_damaged_in_its_middle_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "question.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 16_000), 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] + bytes(len(whole) // 3))

    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match=r"question\.flac: is damaged"):
            await run(path, target)


async def test_an_unwritable_result_is_known_before_anything_is_sent(recording: Path, tmp_path: Path) -> None:
    sessions = itertools.count()

    async def script(requests: Requests, context: Any) -> Responses:
        next(sessions)
        yield await opened(requests)

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match="there is no folder"):
            await run(recording, target, tmp_path / "no" / "answer.wav")
    assert next(sessions) == 0


async def test_an_answer_without_speech_writes_nothing(recording: Path, tmp_path: Path) -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        yield await opened(requests)
        await hear(requests)
        for response in question() + answer(audio=b""):
            yield response
        async for _ in requests:
            pass

    async with voice_agent(script) as target:
        with pytest.raises(CliError, match="the answer has no speech"):
            await run(recording, target, tmp_path / "answer.wav")
    assert not (tmp_path / "answer.wav").exists()
