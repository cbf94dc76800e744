"""Single turns over the four real programs, scripted fakes inside."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import chat_pb2

from services.common.status import from_rpc_error
from tests.support.servers import RunningServer
from tests.support.stack import SPEECH, conversation, fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECOND = bytes(32_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[dict[str, RunningServer]]:
    async with fake_stack() as servers:
        yield servers


async def respond(stack: dict[str, RunningServer], **request: Any) -> list[Any]:
    session = pb.SessionConfig(input_audio_format=SPEECH)
    session.MergeFrom(request.pop("session", pb.SessionConfig()))
    async with grpc.aio.insecure_channel(stack["orchestrator"].address) as channel:
        call = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Respond(
            pb.RespondRequest(session=session, **request)
        )
        return [response async for response in call]


async def test_text_in_gives_text_and_speech_out(stack: dict[str, RunningServer]) -> None:
    events = await respond(stack, text="Hello?")
    assert events[0].WhichOneof("event") == "response_created"
    assert events[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED
    assert any(event.response_output_audio_delta.audio for event in events)


async def test_audio_in_is_transcribed_first(stack: dict[str, RunningServer]) -> None:
    events = await respond(stack, audio=SECOND)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.index("input_audio_transcription_completed") < kinds.index("response_created")
    assert kinds[-1] == "response_done"
    assert events[-1].response_done.timings.HasField("final_transcript")


async def test_a_history_can_be_given(stack: dict[str, RunningServer]) -> None:
    history = [
        chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="My name is Ada.")]),
        chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[chat_pb2.ContentPart(text="Hello Ada.")]),
    ]
    events = await respond(stack, text="What is my name?", history=history)
    assert events[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "input": {},
    "text": {"text": "  "},
    "audio": {"audio": SECOND + b"\0"},
    "session.voice": {"text": "hi", "session": pb.SessionConfig(voice="nobody")},
    "session.conversation_id": {"text": "hi", "session": pb.SessionConfig(conversation_id="gone")},
    "history": {
        "text": "hi",
        "history": [chat_pb2.Message(role=chat_pb2.ROLE_USER)],
        "session": pb.SessionConfig(conversation_id="gone"),
    },
}


@pytest.mark.parametrize("field", BAD_REQUESTS)
async def test_bad_input_names_its_field_and_the_server_goes_on(stack: dict[str, RunningServer], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await respond(stack, **BAD_REQUESTS[field])
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert from_rpc_error(caught.value).field == field
    assert (await respond(stack, text="Hello?"))[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED


async def test_too_much_audio_is_refused_by_name(stack: dict[str, RunningServer]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await respond(stack, audio=SECOND * 61)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(caught.value).field == "audio"


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on(stack: dict[str, RunningServer]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await respond(stack, audio=bytes(9 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await respond(stack, text="Hello?")


async def test_an_answer_of_emoji_is_for_readers_alone() -> None:
    text_only = pb.SessionConfig(output_modality=pb.OUTPUT_MODALITY_TEXT)
    async with fake_stack(llm=("--fake_answer=🎉 😀",)) as emoji:
        read = await respond(emoji, text="Hello?", session=text_only)
        assert read[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED
        with pytest.raises(grpc.aio.AioRpcError, match="nothing that can be spoken"):
            await respond(emoji, text="Hello?")
        async with conversation(emoji["orchestrator"].address) as client:
            await client.write_text("Hello?")
            error = await client.until("error")
            assert "nothing that can be spoken" in error.message
            assert "".join(event.response_output_text_delta.delta for event in client.events) == "🎉 😀"
            assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_FAILED
            assert client.audio()  # the apology
