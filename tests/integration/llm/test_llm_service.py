"""The LLM service as a process, over gRPC, with the fake backend."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import struct_pb2
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb2
from parley.llm.v1 import llm_service_pb2

from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.support.llm_client import LlmClient, client_of, text_of, user
from tests.support.servers import server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = ("--fake_answer", "I got: {received}. That is **all** of it. Bye.")
ENDLESS = ("--fake_answer", "One. Two. Three.", "--fake_token_ms", "3600000")


def kinds(responses: list[llm_service_pb2.GenerateResponse]) -> list[str | None]:
    return [response.WhichOneof("event") for response in responses]


@contextlib.asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[LlmClient]:
    async with server("llm", "--llm_backend", "fake", *flags) as address, client_of(address) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[LlmClient]:
    async with serving(*ECHO, "--chat_size", "3") as made:
        yield made


async def test_the_third_turn_of_a_conversation_receives_the_first(client: LlmClient) -> None:
    ident = await client.create(config=conversation_pb2.ConversationConfig(instructions="Be brief"))
    for text in ("My name is Ada", "How are you?"):
        await client.generate(text, conversation_id=ident)
    received = text_of(await client.generate("What is my name?", conversation_id=ident))
    assert "system: Be brief | user: My name is Ada | assistant: I got: " in received
    assert received.endswith("| user: What is my name?. That is **all** of it. Bye.")


ENDLESS = ("--fake_answer", "One. Two. Three.", "--fake_token_ms", "3600000")


async def test_the_window_forgets_the_oldest_turns(client: LlmClient) -> None:
    ident = await client.create()
    for number in range(5):
        await client.generate(f"question {number}", conversation_id=ident, instructions="")
    questions = [text for text in await client.texts(ident) if text.startswith("question")]
    assert questions == ["question 2", "question 3", "question 4"]


async def test_a_turn_is_told_in_order_with_one_end(client: LlmClient) -> None:
    responses = await client.generate("Hello", enable_speech_segments=True, instructions="", language_code="en-US")
    told = kinds(responses)
    assert (told[0], told[-1], told.count("completed")) == ("started", "completed", 1)
    started, completed = responses[0].started, responses[-1].completed
    assert started.response_id
    assert (started.model, started.backend) == ("fake", "fake")
    assert text_of(responses) == "I got: user: Hello. That is **all** of it. Bye."
    segments = [response.speech_segment for response in responses if response.HasField("speech_segment")]
    assert [(segment.index, segment.text, segment.sentence_count) for segment in segments] == [
        (0, "I got: user: Hello.", 1),
        (1, "That is all of it. Bye.", 2),
    ]
    assert {segment.language_code for segment in segments} == {"en-US"}
    assert completed.finish_reason == chat_pb2.FINISH_REASON_STOP
    assert completed.usage.output_tokens == 10
    assert completed.timings.total.ToNanoseconds() >= completed.timings.time_to_first_segment.ToNanoseconds() > 0


async def test_a_held_turn_enters_the_history_with_what_was_heard(client: LlmClient) -> None:
    ident = await client.create()
    held = llm_service_pb2.COMMIT_POLICY_HELD
    responses = await client.generate("Hello", conversation_id=ident, commit_policy=held, instructions="")
    assert await client.texts(ident) == []
    for _ in range(2):
        await client.commit(ident, responses[0].started.response_id, "I got: user: Hello. That is all")
    assert await client.texts(ident) == ["Hello", "I got: user: Hello. That is **all**"]


async def test_a_discarded_turn_leaves_no_trace(client: LlmClient) -> None:
    ident = await client.create()
    held = llm_service_pb2.COMMIT_POLICY_HELD
    responses = await client.generate("Hello", conversation_id=ident, commit_policy=held)
    request = conversation_pb2.DiscardResponseRequest(
        conversation_id=ident, response_id=responses[0].started.response_id
    )
    for _ in range(2):
        await client.conversations.DiscardResponse(request)
    assert await client.texts(ident) == []


async def test_messages_can_be_added_without_generating_and_get_ids(client: LlmClient) -> None:
    ident = await client.create(messages=[user("first")])
    request = conversation_pb2.AppendMessagesRequest(conversation_id=ident, messages=[user("second"), user("third")])
    added = (await client.conversations.AppendMessages(request)).messages
    assert len({message.id for message in added}) == 2
    assert await client.texts(ident) == ["first", "second", "third"]
    await client.generate(conversation_id=ident)
    assert len(await client.texts(ident)) == 4


async def test_a_deleted_conversation_is_gone(client: LlmClient) -> None:
    ident = await client.create(conversation_id="mine")
    assert ident == "mine"
    await client.conversations.DeleteConversation(conversation_pb2.DeleteConversationRequest(conversation_id=ident))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.texts(ident)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_model_is_listed_and_prefill_answers_at_once(client: LlmClient) -> None:
    (model,) = (await client.models.ListModels(llm_service_pb2.ListModelsRequest())).models
    assert (model.name, model.backend, model.supports_prefill) == ("fake", "fake", False)
    ident = await client.create()
    prefilled = await client.models.Prefill(llm_service_pb2.PrefillRequest(conversation_id=ident))
    assert prefilled.prefilled_tokens == 0


async def test_the_fake_calls_the_first_tool_if_told_to_and_then_answers() -> None:
    tools = llm_service_pb2.ToolSet(tools=[chat_pb2.Tool(name="get_time"), chat_pb2.Tool(name="get_date")])
    async with serving(*ECHO, "--fake_calls_tools") as client:
        ident = await client.create()
        asked = await client.generate("What time is it?", conversation_id=ident, tools=tools)
        (call,) = [response.tool_call for response in asked if response.HasField("tool_call")]
        assert (call.name, call.arguments_json) == ("get_time", "{}")
        assert asked[-1].completed.finish_reason == chat_pb2.FINISH_REASON_TOOL_CALLS
        content = [chat_pb2.ContentPart(text="noon")]
        output = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=call.id, content=content)
        answer = await client.generate(messages=[output], conversation_id=ident, tools=tools)
        assert "tool: noon" in text_of(answer)


def _options(**values: Any) -> struct_pb2.Struct:
    options = struct_pb2.Struct()
    options.update(values)
    return options


BAD: list[tuple[dict[str, Any], grpc.StatusCode, str, str]] = [
    ({}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "messages"),
    ({"messages": [user(" ")]}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "messages[0].content[0].text"),
    ({"text": "a", "model": "other"}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "model"),
    (
        {"text": "a", "conversation_id": "nobody"},
        grpc.StatusCode.NOT_FOUND,
        "CONVERSATION_NOT_FOUND",
        "conversation_id",
    ),
    (
        {"text": "a", "sampling": chat_pb2.SamplingOptions(temperature=-1)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        "sampling.temperature",
    ),
    (
        {"text": "a", "sampling": chat_pb2.SamplingOptions(max_output_tokens=0)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        "sampling.max_output_tokens",
    ),
    (
        {"text": "a", "tool_choice": chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        "tool_choice",
    ),
    (
        {"text": "a", "backend_options": _options(beams=2)},
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        "backend_options.beams",
    ),
    (
        {"text": "word " * 33_000},
        grpc.StatusCode.FAILED_PRECONDITION,
        "CONTEXT_LENGTH_EXCEEDED",
        "messages",
    ),
    ({"text": "x" * 200_001}, grpc.StatusCode.INVALID_ARGUMENT, "TEXT_TOO_LONG", "messages[0].content[0].text"),
]


async def test_bad_requests_name_their_field_and_the_server_goes_on(client: LlmClient) -> None:
    for fields, code, reason, field in BAD:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.generate(**fields)
        error = from_rpc_error(caught.value)
        assert (caught.value.code(), error.reason, error.field) == (code, reason, field)
    assert text_of(await client.generate("Hello"))


async def test_a_message_over_the_size_limit_is_refused_and_the_server_goes_on(client: LlmClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.generate("x" * (9 << 20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text_of(await client.generate("Hello"))


async def test_bad_conversation_calls_name_their_field(client: LlmClient) -> None:
    ident = await client.create(conversation_id="taken")
    calls: list[tuple[Callable[[], Any], grpc.StatusCode, str]] = [
        (lambda: client.create(conversation_id="taken"), grpc.StatusCode.INVALID_ARGUMENT, "conversation_id"),
        (lambda: client.create(conversation_id="no spaces"), grpc.StatusCode.INVALID_ARGUMENT, "conversation_id"),
        (lambda: client.create(messages=[chat_pb2.Message()]), grpc.StatusCode.INVALID_ARGUMENT, "messages[0].role"),
        (lambda: client.commit(ident, "nobody"), grpc.StatusCode.NOT_FOUND, "response_id"),
        (lambda: client.commit("nobody", "r"), grpc.StatusCode.NOT_FOUND, "conversation_id"),
    ]
    for call, code, field in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call()
        error: ParleyError = from_rpc_error(caught.value)
        assert (caught.value.code(), error.field) == (code, field)


async def test_one_conversation_too_many_is_refused_with_a_hint() -> None:
    async with serving("--max_conversations", "2") as client:
        for _ in range(2):
            await client.create()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.create()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (from_rpc_error(caught.value).retry_after_s or 0) > 1


async def test_edge_18_a_cancelled_turn_leaves_no_trace_and_the_next_one_works() -> None:
    async with serving(*ENDLESS) as client:
        ident = await client.create()
        request = llm_service_pb2.GenerateRequest(conversation_id=ident, messages=[user("Hello")])
        for read in (0, 1, 2):
            call = client.models.Generate(request)
            for _ in range(read):
                await call.read()
            call.cancel()
            call.cancel()
        sampling = chat_pb2.SamplingOptions(max_output_tokens=1)
        assert text_of(await client.generate("Again", conversation_id=ident, sampling=sampling)) == "One."
        assert await client.texts(ident) == ["Again", "One."]


async def test_edge_18_a_held_turn_that_is_cut_is_committed_with_what_was_heard() -> None:
    async with serving(*ENDLESS) as client:
        ident = await client.create()
        held = llm_service_pb2.COMMIT_POLICY_HELD
        call = client.models.Generate(
            llm_service_pb2.GenerateRequest(conversation_id=ident, messages=[user("Hello")], commit_policy=held)
        )
        started, delta = await call.read(), await call.read()
        assert (started.WhichOneof("event"), delta.text_delta.text) == ("started", "One.")
        call.cancel()
        await client.commit(ident, started.started.response_id, "One.")
        assert await client.texts(ident) == ["Hello", "One."]


async def test_the_language_request_is_received_and_not_kept() -> None:
    async with serving(*ECHO, "--enable_lang_prompt") as client:
        ident = await client.create()
        received = text_of(await client.generate("Bonjour", conversation_id=ident, language_code="fr"))
        assert "user: Bonjour Please reply to my message in French." in received
        assert (await client.texts(ident))[0] == "Bonjour"
