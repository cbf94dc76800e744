"""The client library against an orchestrator that does what a test tells it to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2
from parley_client import (
    AudioDelta,
    Event,
    ItemDeleted,
    Reconnected,
    ResponseStarted,
    Session,
    SessionError,
    Tool,
    connect,
)

from services.common.errors import ConversationNotFoundError, OverloadedError
from services.common.status import to_status
from services.common.wire import duration, seconds
from tests.support.voice_agent_double import voice_agent

Requests = AsyncIterator[pb.ConverseRequest]
Responses = AsyncIterator[pb.ConverseResponse]
SPEECH_STARTED = pb.ConverseResponse(input_audio_buffer_speech_started=pb.InputAudioBufferSpeechStarted(item_id="u"))
RESPONSE_CREATED = pb.ConverseResponse(response_created=pb.ResponseCreated(response_id="r", item_id="i"))


def created(number: int = 1) -> pb.ConverseResponse:
    return pb.ConverseResponse(session_created=pb.SessionCreated(session_id=f"s{number}", conversation_id="c"))


def audio(data: bytes, offset_s: float) -> pb.ConverseResponse:
    delta = pb.ResponseOutputAudioDelta(response_id="r", item_id="i", audio=data, offset=duration(offset_s))
    return pb.ConverseResponse(response_output_audio_delta=delta)


def called(name: str, arguments: str = "{}") -> pb.ConverseResponse:
    call = chat_pb2.ToolCall(id="call", name=name, arguments_json=arguments)
    return pb.ConverseResponse(response_function_call=pb.ResponseFunctionCall(response_id="r", call=call))


async def next_of(requests: Requests, kind: str) -> Any:
    """The next client event of a kind."""
    async for request in requests:
        if request.WhichOneof("event") == kind:
            return getattr(request, kind)
    raise AssertionError(f"no {kind} came")


async def all_events(session: Session) -> list[Event]:
    return [event async for event in session.events()]


async def test_at_the_users_voice_playback_stops_and_the_server_hears_how_far_it_was() -> None:
    truncated = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        yield RESPONSE_CREATED
        yield audio(b"ab" * 2400, 0.0)
        await next_of(requests, "input_audio_buffer_append")
        yield SPEECH_STARTED
        truncated.append(await next_of(requests, "conversation_item_truncate"))

    async with voice_agent(script) as target, connect(target) as session:
        playback = session.play()
        async for event in session.events():
            if isinstance(event, AudioDelta):
                assert playback.read(2 * 1200) == b"ab" * 1200
                await session.send_audio(bytes(640))
        assert playback.read(2) == b""
    assert truncated[0].item_id == "i"
    assert seconds(truncated[0].audio_end) == 0.05


async def test_audio_that_waits_goes_before_what_is_sent_after_it() -> None:
    received: list[pb.ConverseRequest] = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        received.extend([request async for request in requests])

    async with voice_agent(script) as target, connect(target) as session:
        for sample in (b"a", b"b", b"c"):
            await session.send_audio(sample * 640)
            if sample == b"b":
                await session.commit()
        await session.end()
        assert await all_events(session) == []
    kinds = [request.WhichOneof("event") for request in received]
    assert kinds == ["input_audio_buffer_append", "input_audio_buffer_commit", "input_audio_buffer_append"]
    heard = [request.input_audio_buffer_append.audio for request in received]
    assert heard == [b"a" * 640 + b"b" * 640, b"", b"c" * 640]


async def test_interrupting_stops_playback_and_cancels_the_response() -> None:
    received = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        yield audio(bytes(4800), 0.0)
        received.extend([(await anext(requests)).WhichOneof("event") for _ in range(2)])

    async with voice_agent(script) as target, connect(target) as session:
        playback = session.play()
        async for event in session.events():
            if isinstance(event, AudioDelta):
                await session.interrupt()
                assert playback.read(2) == b""
    assert received == ["conversation_item_truncate", "response_cancel"]


async def test_an_item_is_deleted_and_the_user_of_the_session_hears_of_it() -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        asked = await next_of(requests, "conversation_item_delete")
        yield pb.ConverseResponse(conversation_item_deleted=pb.ConversationItemDeleted(item_id=asked.item_id))

    async with voice_agent(script) as target, connect(target) as session:
        await session.delete("u")
        assert await all_events(session) == [ItemDeleted("u")]


async def test_a_session_whose_events_are_read_no_more_is_left_without_an_error() -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        yield RESPONSE_CREATED
        await asyncio.Event().wait()

    async with voice_agent(script) as target, connect(target) as session:
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in session.events():
                begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        await asyncio.wait({reading})


async def test_a_truncation_that_came_too_late_is_no_event() -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        async for request in requests:
            if request.event_id:
                yield pb.ConverseResponse(error=pb.ErrorEvent(client_event_id=request.event_id, message="not spoken"))

    async with voice_agent(script) as target, connect(target) as session:
        await session.truncate("i", 1.0)
        await session.end()
        assert await all_events(session) == []


async def test_a_function_is_run_and_its_output_is_sent() -> None:
    outputs = []

    async def script(requests: Requests, context: Any) -> Responses:
        opening = await next_of(requests, "session_update")
        assert [tool.name for tool in opening.session.tools] == ["add"]
        yield created()
        yield called("add", '{"a": 1, "b": 2}')
        outputs.append((await next_of(requests, "conversation_item_create")).item)

    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    async with (
        voice_agent(script) as target,
        connect(target, tools=[Tool("add", "Adds two numbers.", add)]) as session,
    ):
        await all_events(session)
    assert (outputs[0].role, outputs[0].tool_call_id) == (chat_pb2.ROLE_TOOL, "call")
    assert outputs[0].content[0].text == '{"sum": 3}'


async def test_a_function_that_fails_is_told_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    outputs = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        yield called("fail")
        outputs.append((await next_of(requests, "conversation_item_create")).item.content[0].text)

    async def fail() -> str:
        raise RuntimeError("password=1234")

    async with voice_agent(script) as target, connect(target, tools=[Tool("fail", "Fails.", fail)]) as session:
        await all_events(session)
    assert outputs == ['{"error": "the function failed"}']
    assert "the function fail failed" in caplog.text


async def test_a_lost_stream_is_opened_again_with_the_conversation() -> None:
    openings: list[pb.SessionConfig] = []

    async def script(requests: Requests, context: Any) -> Responses:
        openings.append((await next_of(requests, "session_update")).session)
        yield created(len(openings))
        if len(openings) == 1:
            yield audio(bytes(4800), 0.0)
            await next_of(requests, "session_update")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the process is gone")
        await next_of(requests, "response_create")
        yield RESPONSE_CREATED

    config = pb.SessionConfig(instructions="Be brief.")
    async with voice_agent(script) as target, connect(target, config) as session:
        playback, happened = session.play(), []
        await session.update(pb.SessionConfig(voice="heart"))
        async for event in session.events():
            happened.append(event)
            if isinstance(event, Reconnected):
                assert playback.read(2) == b""
                await session.write("Hello?")
        assert (session.id, session.conversation_id) == ("s2", "c")
    assert happened[1:] == [Reconnected("s2"), ResponseStarted("r", "i")]
    assert [(opening.conversation_id, opening.instructions, opening.voice) for opening in openings] == [
        ("", "Be brief.", ""),
        ("c", "Be brief.", "heart"),
    ]


async def test_a_server_that_is_full_is_asked_again_when_it_says_so() -> None:
    calls: list[float] = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 2:
            await context.abort_with_status(to_status(OverloadedError("too many sessions", retry_after_s=0.3)))
        yield created(len(calls))
        if len(calls) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the process is gone")

    async with voice_agent(script) as target, connect(target) as session:
        assert await all_events(session) == [Reconnected("s3")]
    assert calls[2] - calls[1] >= 0.3


async def test_what_cannot_go_on_ends_the_session_with_status_and_reason() -> None:
    calls = []

    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        calls.append(1)
        if len(calls) == 2:
            error = ConversationNotFoundError("no such conversation", field="session.conversation_id")
            await context.abort_with_status(to_status(error))
        yield created()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the process is gone")

    async with voice_agent(script) as target, connect(target) as session:
        with pytest.raises(SessionError) as caught:
            await all_events(session)
        assert not await session.send_audio(bytes(640))
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert (caught.value.reason, caught.value.field) == ("CONVERSATION_NOT_FOUND", "session.conversation_id")
    assert str(caught.value).startswith("NOT_FOUND CONVERSATION_NOT_FOUND: session.conversation_id: ")


async def test_without_reconnecting_a_lost_stream_is_an_error() -> None:
    async def script(requests: Requests, context: Any) -> Responses:
        await next_of(requests, "session_update")
        yield created()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the process is gone")

    async with voice_agent(script) as target, connect(target, reconnect_s=0) as session:
        with pytest.raises(SessionError, match=r"^UNAVAILABLE: the process is gone$") as caught:
            await all_events(session)
    assert caught.value.opened


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(SessionError, match=r"^UNAVAILABLE: ") as caught:
        async with connect("127.0.0.1:1"):
            pass
    assert not caught.value.opened


async def test_the_token_goes_with_every_stream() -> None:
    seen = []

    async def script(requests: Requests, context: Any) -> Responses:
        seen.append(dict(context.invocation_metadata())["authorization"])
        await next_of(requests, "session_update")
        yield created()

    async with voice_agent(script) as target, connect(target, token="secret") as session:
        await all_events(session)
    assert seen == ["Bearer secret"]
