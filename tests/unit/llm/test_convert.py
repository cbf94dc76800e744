"""Between the contract and plain data."""

import pytest
from google.protobuf import struct_pb2
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, llm_service_pb2

from services.common.errors import InvalidArgumentError
from services.llm import convert
from services.llm.checks import MAX_MESSAGES, MAX_OPTIONS_BYTES, MAX_PARTS, MAX_TOOLS
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.domain import (
    Completed,
    FinishReason,
    ImagePart,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    SpeechSegment,
    Started,
    TextDelta,
    TextPart,
    Timings,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolChoice,
    ToolMode,
    TurnRequest,
    Usage,
)

USER = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="hi")])


def test_an_empty_request_asks_for_the_defaults() -> None:
    assert convert.turn_request(llm_service_pb2.GenerateRequest(messages=[USER])) == TurnRequest(
        (Message(Role.USER, (TextPart("hi"),)),)
    )


def test_every_field_of_a_request_arrives() -> None:
    options = struct_pb2.Struct()
    options.update({"top_k": 5, "repetition_penalty": 1.5, "bad_words_ids": [[1, 2]], "do_sample": True})
    request = llm_service_pb2.GenerateRequest(
        conversation_id="c",
        messages=[USER],
        instructions="",
        model="m",
        sampling=chat_pb2.SamplingOptions(
            max_output_tokens=7,
            min_output_tokens=1,
            temperature=0.5,
            top_p=0.25,
            top_k=3,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            seed=2**63,
            stop=["x"],
        ),
        tools=llm_service_pb2.ToolSet(tools=[chat_pb2.Tool(name="f", description="d", parameters_json_schema="{}")]),
        tool_choice=chat_pb2.ToolChoice(tool_name="f"),
        language_code="de",
        commit_policy=llm_service_pb2.COMMIT_POLICY_HELD,
        enable_speech_segments=True,
        segment_sentences=2,
        backend_options=options,
    )
    assert convert.turn_request(request) == TurnRequest(
        (Message(Role.USER, (TextPart("hi"),)),),
        "c",
        "",
        "m",
        Sampling(7, 1, 0.5, 0.25, 3, 0.5, -0.5, 2**63, ("x",)),
        (Tool("f", "d", "{}"),),
        ToolChoice(ToolMode.REQUIRED, "f"),
        "de",
        True,
        True,
        2,
        {"top_k": 5, "repetition_penalty": 1.5, "bad_words_ids": [[1, 2]], "do_sample": True},
    )


def test_an_empty_tool_set_differs_from_none() -> None:
    assert convert.turn_request(llm_service_pb2.GenerateRequest()).tools is None
    assert convert.turn_request(llm_service_pb2.GenerateRequest(tools=llm_service_pb2.ToolSet())).tools == ()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (chat_pb2.Message(), "messages[0].role"),
        (chat_pb2.Message(role=99), "messages[0].role"),  # type: ignore[arg-type]
        (chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart()]), "messages[0].content[0]"),
        (
            chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(image=chat_pb2.Image())]),
            "messages[0].content[0].image",
        ),
    ],
)
def test_a_message_without_role_or_content_is_refused(message: chat_pb2.Message, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        convert.messages([message])
    assert caught.value.field == field


def test_more_than_may_be_is_refused_before_plain_data_is_made_of_it() -> None:
    many = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="a")] * (MAX_PARTS // 2))
    tools = llm_service_pb2.ToolSet(tools=[chat_pb2.Tool(name="f")] * (MAX_TOOLS + 1))
    options = struct_pb2.Struct()
    options.update({"a": "b" * MAX_OPTIONS_BYTES})
    convert.messages([many, many])
    for request, field in (
        (llm_service_pb2.GenerateRequest(messages=[USER] * (MAX_MESSAGES + 1)), "messages"),
        (llm_service_pb2.GenerateRequest(messages=[many, many, USER]), "messages"),
        (llm_service_pb2.GenerateRequest(tools=tools), "tools.tools"),
        (llm_service_pb2.GenerateRequest(backend_options=options), "backend_options"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            convert.turn_request(request)
        assert caught.value.field == field


def test_values_of_a_newer_contract_are_refused() -> None:
    request = llm_service_pb2.GenerateRequest(commit_policy=99)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as caught:
        convert.turn_request(request)
    assert caught.value.field == "commit_policy"


def test_messages_survive_the_round_trip() -> None:
    messages = (
        Message(Role.SYSTEM, (TextPart("s"),)),
        Message(Role.USER, (TextPart("u"), ImagePart(b"x"), ImagePart(url="https://a/b"))),
        Message(Role.ASSISTANT, (TextPart("a"),), (ToolCall("c", "f", "{}"),)),
        Message(Role.TOOL, (TextPart("t"),), tool_call_id="c"),
    )
    assert convert.messages([convert.message_message(message) for message in messages]) == messages


def test_a_window_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        convert.conversation_config(conversation_service_pb2.ConversationConfig(chat_size=100_000))
    assert caught.value.field == "config.chat_size"


def test_a_conversation_tells_its_configuration_as_it_was_set() -> None:
    config = conversation_service_pb2.ConversationConfig(instructions="", chat_size=0, tools=llm_service_pb2.ToolSet())
    known = Conversation("c", convert.conversation_config(config), 0, created_at=1.5)
    message = convert.conversation_message(known, 100.0)
    assert message.config == config
    assert message.create_time.ToMilliseconds() == 1500
    assert message.expire_time.ToMilliseconds() > 100_000
    plain = convert.conversation_message(Conversation("c", ConversationConfig(), 30), 100.0)
    assert plain.config == conversation_service_pb2.ConversationConfig()


def test_events_go_out_as_what_they_are() -> None:
    call = ToolCall("c", "f", "{}")
    assert convert.event_message(TextDelta("a"), "de").text_delta.text == "a"
    assert convert.event_message(ReasoningDelta("a"), "de").reasoning_delta.text == "a"
    segment = convert.event_message(SpeechSegment(2, "a", 3), "de").speech_segment
    assert (segment.index, segment.text, segment.sentence_count, segment.language_code) == (2, "a", 3, "de")
    assert convert.event_message(ToolCallEvent(call), "de").tool_call.name == "f"
    error = convert.event_message(InvalidToolCall("c", "f", "{", "broken"), "de").tool_call_error
    assert (error.id, error.name, error.arguments_text, error.error) == ("c", "f", "{", "broken")
    started = convert.event_message(Started("r", "m", "b"), "de").started
    assert (started.response_id, started.model, started.backend) == ("r", "m", "b")


def test_completion_tells_usage_and_times_where_there_are_any() -> None:
    timings = Timings(0.25, 0.5, None, 1.0)
    event = Completed(FinishReason.LENGTH, Usage(3, 4, cached_input_tokens=2), timings)
    completed = convert.event_message(event, "").completed
    assert completed.finish_reason == chat_pb2.FINISH_REASON_LENGTH
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == (3, 4)
    assert completed.usage.cached_input_tokens == 2
    assert not completed.usage.HasField("reasoning_output_tokens")
    assert completed.timings.queue.ToMilliseconds() == 250
    assert not completed.timings.HasField("time_to_first_segment")
    without = convert.event_message(Completed(FinishReason.STOP, None, timings), "").completed
    assert not without.HasField("usage")
