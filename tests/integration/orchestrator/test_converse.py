"""Live sessions over the four real programs, scripted fakes inside."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2, chat_pb2, error_reason_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from services.common.status import from_rpc_error
from tests.support.servers import RunningServer
from tests.support.stack import conversation, fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[dict[str, RunningServer]]:
    async with fake_stack() as servers:
        yield servers


async def history(stack: dict[str, RunningServer], conversation_id: str) -> list[tuple[int, str]]:
    async with grpc.aio.insecure_channel(stack["llm"].address) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        messages = (await stub.GetConversation(request)).conversation.messages
    return [(message.role, "".join(part.text for part in message.content)) for message in messages]


async def test_a_turn_comes_as_transcript_response_text_audio_and_one_end(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        await client.append()
        await client.commit()
        done = await client.until("response_done")
        kinds = client.kinds()
        order = [
            "input_audio_transcription_completed",
            "response_created",
            "response_output_text_delta",
            "response_output_audio_delta",
            "response_done",
        ]
        assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
        assert done.status == pb.RESPONSE_STATUS_COMPLETED
        assert "fake" in done.transcript.lower()
        text = "".join(event.response_output_text_delta.delta for event in client.events)
        assert text == done.transcript
        spans = [done.timings.first_token, done.timings.first_segment, done.timings.first_audio, done.timings.total]
        assert [span.ToNanoseconds() for span in spans] == sorted(span.ToNanoseconds() for span in spans)


async def test_offsets_of_the_audio_add_up(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        await client.append()
        await client.commit()
        await client.until("response_done")
        at_bytes = 0
        for event in client.events:
            if event.WhichOneof("event") == "response_output_audio_delta":
                offset_s = event.response_output_audio_delta.offset.ToNanoseconds() / 1e9
                assert offset_s == pytest.approx(at_bytes / 48_000, abs=1e-6)
                at_bytes += len(event.response_output_audio_delta.audio)
        assert at_bytes > 0


async def test_three_turns_share_one_history(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        for _ in range(3):
            await client.append()
            await client.commit()
            await client.until("response_done")
        kept = await history(stack, client.events[0].session_created.conversation_id)
        assert [role for role, _ in kept] == [chat_pb2.ROLE_USER, chat_pb2.ROLE_ASSISTANT] * 3


async def test_the_session_says_what_is_in_force_and_updates_keep_the_rest(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address, instructions="be brief") as client:
        created = client.events[0].session_created.session
        assert created.instructions == "be brief"
        assert created.output_audio_format.sample_rate_hertz == 24_000
        await client.send(session_update=pb.SessionUpdate(session=pb.SessionConfig(language_code="en")))
        updated = (await client.until("session_updated")).session
        assert (updated.instructions, updated.language_code) == ("be brief", "en")


async def test_an_update_takes_functions_away_only_where_it_says_so(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address, tools=[chat_pb2.Tool(name="weather")]) as client:
        kept = pb.SessionUpdate(session=pb.SessionConfig(language_code="en"))
        for update, names in ((kept, ["weather"]), (pb.SessionUpdate(clear_tools=True), [])):
            await client.send(session_update=update)
            assert [tool.name for tool in (await client.until("session_updated")).session.tools] == names


async def test_telephony_gets_mulaw_at_8_khz(stack: dict[str, RunningServer]) -> None:
    mulaw = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8000)
    async with conversation(
        stack["orchestrator"].address, input_audio_format=mulaw, output_audio_format=mulaw
    ) as client:
        await client.append(b"\xff" * 800)
        await client.commit()
        await client.until("response_done")
        deltas = [e.response_output_audio_delta for e in client.events if e.response_output_audio_delta.audio]
        assert deltas[1].offset.ToNanoseconds() / 1e9 == pytest.approx(len(deltas[0].audio) / 8000)


async def test_text_only_sends_no_audio(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address, output_modality=pb.OUTPUT_MODALITY_TEXT) as client:
        await client.append()
        await client.commit()
        done = await client.until("response_done")
        assert done.transcript
        assert not client.audio()


async def test_cancel_ends_the_response_and_the_history_holds_what_was_heard() -> None:
    slow_model = ("--fake_first_token_ms=0", "--fake_token_ms=100")
    async with fake_stack(llm=slow_model) as slow, conversation(slow["orchestrator"].address) as client:
        await client.append()
        await client.commit()
        await client.until("response_output_text_delta")
        await client.send(response_cancel=pb.ResponseCancel())
        done = await client.until("response_done")
        assert done.status == pb.RESPONSE_STATUS_CANCELLED
        kept = await history(slow, client.events[0].session_created.conversation_id)
        heard = [text for role, text in kept if role == chat_pb2.ROLE_ASSISTANT]
        assert heard == ([done.transcript] if done.transcript else [])
        assert kept[0][0] == chat_pb2.ROLE_USER


async def test_half_closing_waits_for_the_answer(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        await client.append()
        await client.commit()
        await client.rest()
        assert client.kinds()[-1] == "response_done"


async def test_a_conversation_goes_on_in_a_new_session(stack: dict[str, RunningServer]) -> None:
    async with conversation(stack["orchestrator"].address) as first:
        await first.write_text("My name is Ada.")
        await first.until("response_done")
        conversation_id = first.events[0].session_created.conversation_id
    async with conversation(stack["orchestrator"].address, conversation_id=conversation_id) as second:
        await second.write_text("What is my name?")
        await second.until("response_done")
    texts = [text for role, text in await history(stack, conversation_id) if role == chat_pb2.ROLE_USER]
    assert texts == ["My name is Ada.", "What is my name?"]


BAD_OPENINGS = {
    "session.input_audio_format.sample_rate_hertz": pb.SessionConfig(
        input_audio_format=audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=7000)
    ),
    "session.output_audio_format.encoding": pb.SessionConfig(
        output_audio_format=audio_pb2.AudioFormat(sample_rate_hertz=24_000)
    ),
    "session.voice": pb.SessionConfig(voice="nobody"),
    "session.llm_model": pb.SessionConfig(llm_model="nothing"),
    "session.stt_model": pb.SessionConfig(stt_model="nothing"),
    "session.conversation_id": pb.SessionConfig(conversation_id="gone"),
    "session.instructions": pb.SessionConfig(instructions="x" * 40_000),
}


@pytest.mark.parametrize("field", BAD_OPENINGS)
async def test_a_bad_opening_names_its_field(stack: dict[str, RunningServer], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with conversation(stack["orchestrator"].address, **_fields(BAD_OPENINGS[field])):
            pass
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert from_rpc_error(caught.value).field == field


def _fields(config: pb.SessionConfig) -> dict[str, object]:
    return {field.name: value for field, value in config.ListFields()}


async def test_a_first_event_that_is_no_session_update_is_refused(stack: dict[str, RunningServer]) -> None:
    from parley.agent.v1 import agent_service_pb2_grpc

    async with grpc.aio.insecure_channel(stack["orchestrator"].address) as channel:
        call = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
        await call.write(pb.ConverseRequest(response_create=pb.ResponseCreate()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert from_rpc_error(caught.value).field == "session_update"


async def test_edge_29_a_wav_header_in_raw_audio_is_told_and_the_session_lives_on(
    stack: dict[str, RunningServer],
) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        await client.append(b"RIFF\x24\x08\x00\x00WAVEfmt " + bytes(6400))
        error = await client.until("error")
        assert error.reason == error_reason_pb2.ERROR_REASON_UNSUPPORTED_AUDIO_FORMAT
        assert "audio" in error.message
        await client.write_text("still there?")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED


WRONG_EVENTS = {
    "response_cancel": pb.ResponseCancel(),
    "conversation_item_truncate": pb.ConversationItemTruncate(item_id="none"),
    "session_update": pb.SessionUpdate(session=pb.SessionConfig(voice="nobody")),
    "conversation_item_create": pb.ConversationItemCreate(
        item=chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id="none", content=[chat_pb2.ContentPart(text="1")])
    ),
}


@pytest.mark.parametrize("kind", WRONG_EVENTS)
async def test_a_wrong_event_is_answered_with_its_id_and_the_session_lives_on(
    stack: dict[str, RunningServer], kind: str
) -> None:
    async with conversation(stack["orchestrator"].address) as client:
        await client.send("wrong", **{kind: WRONG_EVENTS[kind]})
        assert (await client.until("error")).client_event_id == "wrong"
        await client.write_text("hello")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED


async def test_a_session_too_many_is_refused_with_a_retry_hint() -> None:
    async with fake_stack(orchestrator=("--max_sessions=1",)) as small:
        async with conversation(small["orchestrator"].address):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with conversation(small["orchestrator"].address):
                    pass
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_rpc_error(caught.value).retry_after_s is not None
        async with conversation(small["orchestrator"].address) as client:
            await client.write_text("hello")
            await client.until("response_done")
