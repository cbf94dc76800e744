"""Every wrong field of a request is refused by its name."""

from dataclasses import replace

import pytest

from services.common.errors import InvalidArgumentError, TextTooLongError
from services.llm import checks
from services.llm.backends.base import Capabilities
from services.llm.domain import (
    ImagePart,
    Message,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    TurnRequest,
)

PLAIN = Capabilities("m", "b")
ABLE = Capabilities("m", "b", tools=True, images=True)
USER = Message(Role.USER, (TextPart("hi"),))
TOOL = Tool("get_weather", "", '{"type": "object"}')
CALL = ToolCall("c1", "get_weather", "{}")


def refused(request: TurnRequest, capabilities: Capabilities = PLAIN, max_chars: int = 100) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        checks.check_turn(request, capabilities, max_chars)
    return caught.value.field


def turn(*messages: Message, **fields: object) -> TurnRequest:
    return replace(TurnRequest(messages or (USER,)), **fields)  # type: ignore[arg-type]


def test_a_good_request_passes() -> None:
    checks.check_turn(turn(), PLAIN, 100)
    checks.check_turn(TurnRequest((), "conv"), PLAIN, 100)
    call, output = Message(Role.ASSISTANT, (), (CALL,)), Message(Role.TOOL, (TextPart(""),), tool_call_id="c1")
    picture = Message(Role.USER, (ImagePart(b"x"),))
    checks.check_turn(turn(USER, call, output, picture, tools=(TOOL,), tool_choice=ToolChoice()), ABLE, 100)


def test_a_stateless_request_needs_messages_and_cannot_be_held() -> None:
    assert refused(TurnRequest(())) == "messages"
    assert refused(turn(held=True)) == "commit_policy"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Message(Role.USER), "messages[1].content"),
        (Message(Role.ASSISTANT), "messages[1].content"),
        (Message(Role.USER, (TextPart("a"), TextPart(" \n"))), "messages[1].content[1].text"),
        (Message(Role.USER, (TextPart("a"),), (CALL,)), "messages[1].tool_calls"),
        (Message(Role.TOOL, (TextPart("a"),)), "messages[1].tool_call_id"),
        (Message(Role.USER, (TextPart("a"),), tool_call_id="c1"), "messages[1].tool_call_id"),
        (Message(Role.ASSISTANT, (), (ToolCall("", "f", "{}"),)), "messages[1].tool_calls[0].id"),
        (Message(Role.ASSISTANT, (), (ToolCall("c", "", "{}"),)), "messages[1].tool_calls[0].name"),
        (Message(Role.ASSISTANT, (ImagePart(b"x"),)), "messages[1].content[0].image"),
    ],
)
def test_a_message_has_what_its_role_needs(message: Message, field: str) -> None:
    assert refused(turn(USER, message), ABLE) == field


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (turn(USER, Message(Role.USER, (ImagePart(b"x"),))), "messages[1].content[0].image"),
        (turn(Message(Role.ASSISTANT, (), (CALL,))), "messages[0].tool_calls"),
        (turn(Message(Role.TOOL, (TextPart("a"),), tool_call_id="c1")), "messages[0].role"),
        (turn(tools=(TOOL,)), "tools.tools"),
    ],
)
def test_what_the_model_cannot_take_is_refused(request_: TurnRequest, field: str) -> None:
    assert refused(request_, PLAIN) == field


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(temperature=-0.1), "sampling.temperature"),
        (Sampling(temperature=float("nan")), "sampling.temperature"),
        (Sampling(temperature=float("inf")), "sampling.temperature"),
        (Sampling(max_output_tokens=0), "sampling.max_output_tokens"),
        (Sampling(max_output_tokens=3, min_output_tokens=4), "sampling.min_output_tokens"),
        (Sampling(top_p=0.0), "sampling.top_p"),
        (Sampling(top_p=1.1), "sampling.top_p"),
        (Sampling(frequency_penalty=2.5), "sampling.frequency_penalty"),
        (Sampling(presence_penalty=-2.5), "sampling.presence_penalty"),
        (Sampling(stop=("",)), "sampling.stop[0]"),
        (Sampling(stop=("a",) * 17), "sampling.stop"),
        (Sampling(stop=("a", "b" * 257)), "sampling.stop[1]"),
    ],
)
def test_edge_23_sampling_outside_its_range_is_refused(sampling: Sampling, field: str) -> None:
    assert refused(turn(sampling=sampling)) == field


def test_edge_15_a_tool_choice_without_tools_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no tools") as caught:
        checks.check_tool_choice(ToolChoice(ToolMode.REQUIRED), ())
    assert caught.value.field == "tool_choice"
    with pytest.raises(InvalidArgumentError) as caught:
        checks.check_tool_choice(ToolChoice(ToolMode.REQUIRED, "other"), (TOOL,))
    assert caught.value.field == "tool_choice.tool_name"
    checks.check_tool_choice(ToolChoice(ToolMode.NONE), ())
    checks.check_tool_choice(None, ())


@pytest.mark.parametrize(
    ("tools", "field"),
    [
        ((Tool("", "", "{}"),), "tools.tools[0].name"),
        ((Tool("a b", "", "{}"),), "tools.tools[0].name"),
        ((TOOL, TOOL), "tools.tools[1].name"),
        ((Tool("f", "", "not json"),), "tools.tools[0].parameters_json_schema"),
        ((Tool("f", "", "[]"),), "tools.tools[0].parameters_json_schema"),
        ((Tool("f", "", '{"a": ' * 100_000),), "tools.tools[0].parameters_json_schema"),
        ((Tool("f", "", '{"a": ' * 65 + "1" + "}" * 65),), "tools.tools[0].parameters_json_schema"),
        ((Tool("f", "", '{"a": NaN}'),), "tools.tools[0].parameters_json_schema"),
        ((Tool("f", "", '{"a": "\\ud800"}'),), "tools.tools[0].parameters_json_schema"),
    ],
)
def test_a_tool_has_a_name_of_its_own_and_a_schema(tools: tuple[Tool, ...], field: str) -> None:
    assert refused(turn(tools=tools), ABLE, 1_000_000) == field


def test_tools_may_be_so_long() -> None:
    long = Tool("long", "a" * 60, "{}")
    assert refused(turn(tools=(long, replace(long, name="longer"))), ABLE) == "tools.tools[1]"


def test_json_may_nest_as_deep_as_people_write_it() -> None:
    deep = '{"a": ' * 60 + '"[[[[[[[[\\"{{{{{{"' + "}" * 60
    checks.check_turn(turn(tools=(Tool("f", "", deep),)), ABLE, 10_000)
    call = ToolCall("1", "f", "[" * 100_000)
    assert refused(turn(Message(Role.ASSISTANT, (), (call,))), ABLE) == "messages[0].tool_calls[0].arguments_json"


def test_too_much_text_is_refused_where_it_passes_the_limit() -> None:
    long = Message(Role.USER, (TextPart("x" * 60),))
    with pytest.raises(TextTooLongError) as caught:
        checks.check_turn(turn(long, long), PLAIN, 100)
    assert caught.value.field == "messages[1].content[0].text"
    with pytest.raises(TextTooLongError) as caught:
        checks.check_turn(turn(instructions="x" * 101), PLAIN, 100)
    assert caught.value.field == "instructions"


def test_other_fields_are_checked() -> None:
    assert refused(turn(language_code="french, please")) == "language_code"
    assert refused(turn(segment_sentences=0)) == "segment_sentences"


@pytest.mark.parametrize("ident", ["a b", "x" * 129, "ä", "a/b"])
def test_a_conversation_id_is_plain(ident: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checks.check_id(ident)
    assert caught.value.field == "conversation_id"
    checks.check_id("session-1:a.b_C")
