"""What providers make of the chunks of `/chat/completions`."""

from typing import Any

import pytest

from services.common.errors import UpstreamError
from services.llm.backends.api.chat_reader import ChatReader
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    InvalidToolCall,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
    Usage,
)


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def piece(
    index: int | None = None, ident: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fields = {"index": index, "id": ident, "function": function}
    return {key: value for key, value in fields.items() if value is not None}


def read(*chunks: dict[str, Any]) -> list[BackendEvent]:
    """All that the chunks give, but for where calls begin."""
    reader = ChatReader(ToolIds(()))
    events = [event for each in chunks for event in reader.feed(each)]
    events += [] if reader.ended else reader.end()
    return [event for event in events if not isinstance(event, ToolCallStarted)]


def calls(*chunks: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the good calls, in a stream that ends well."""
    events = read(*chunks, chunk("tool_calls"))
    assert not [event for event in events if isinstance(event, InvalidToolCall)]
    found = [event.call for event in events if isinstance(event, ToolCallEvent)]
    return [(call.id, call.name, call.arguments_json) for call in found]


def test_edge_08_a_call_is_told_when_it_begins_and_once() -> None:
    reader = ChatReader(ToolIds(()))
    assert reader.feed(chunk(content="A. ", tool_calls=[piece(0, "x", "f")])) == [TextDelta("A. "), ToolCallStarted()]
    assert reader.feed(chunk(tool_calls=[piece(0, arguments="{")])) == []


def test_edge_09_the_last_of_the_arguments_may_come_with_the_text_that_follows() -> None:
    events = read(
        chunk(content="A. "),
        chunk(tool_calls=[piece(0, "x", "f", '{"a": ')]),
        chunk(tool_calls=[piece(0, arguments="1}")], content="B."),
        chunk("tool_calls"),
    )
    call = ToolCallEvent(ToolCall("x", "f", '{"a": 1}'))
    assert events == [TextDelta("A. "), call, TextDelta("B."), Finished(FinishReason.TOOL_CALLS)]


def test_edge_10_two_calls_with_the_same_index() -> None:
    first = piece(0, "x", "f", "{}")
    assert calls(chunk(tool_calls=[first]), chunk(tool_calls=[piece(0, "y", "g", "{}")])) == [
        ("x", "f", "{}"),
        ("y", "g", "{}"),
    ]
    assert calls(chunk(tool_calls=[first, piece(0, "y", "g", "{}")])) == [("x", "f", "{}"), ("y", "g", "{}")]


def test_edge_10_ids_that_are_missing_are_made_and_those_that_repeat_made_unique() -> None:
    found = calls(chunk(tool_calls=[piece(0, None, "f", "{}")]), chunk(tool_calls=[piece(0, None, "g", "{}")]))
    assert [name for _, name, _ in found] == ["f", "g"]
    assert len({ident for ident, _, _ in found} - {""}) == 2
    twins = calls(chunk(tool_calls=[piece(0, "x", "f", "{}"), piece(1, "x", "g", "{}")]))
    assert [ident for ident, _, _ in twins] == ["x", "x~2"]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(0, "x", "f"), piece(0, "x", "f", '{"a"'), piece(0, "x", "f", ": 1}")],
        [piece(0, "x", "f"), piece(0, "", "", '{"a"'), piece(0, None, None, ": 1}")],
        [piece(None, "x", "f"), piece(None, arguments='{"a"'), piece(None, arguments=": 1}")],
        [piece(0, None, "f", ""), piece(0, "x", arguments='{"a": 1}')],
        [piece(3, "x", "f", {"a": 1})],
    ],
    ids=["id and name each time", "empty ones", "no index", "id late", "an object"],
)
def test_one_call_however_it_is_cut(pieces: list[dict[str, Any]]) -> None:
    ((ident, name, arguments),) = calls(*(chunk(tool_calls=[each]) for each in pieces))
    assert (ident, name, arguments.replace(" ", "")) == ("x", "f", '{"a":1}')


def test_calls_whose_pieces_alternate() -> None:
    found = calls(
        chunk(tool_calls=[piece(0, "x", "f", "{"), piece(1, "y", "g", "{")]),
        chunk(tool_calls=[piece(1, arguments="}"), piece(0, arguments="}")]),
    )
    assert found == [("x", "f", "{}"), ("y", "g", "{}")]


def test_a_tool_without_parameters_may_be_called_without_arguments() -> None:
    assert calls(chunk(tool_calls=[piece(0, "x", "f", "")])) == [("x", "f", "{}")]


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", '"a"', "nonsense"])
def test_edge_12_arguments_that_are_no_json_object_are_reported(arguments: str) -> None:
    invalid, finished = read(chunk(tool_calls=[piece(0, "x", "f", arguments)]), chunk("tool_calls"))
    assert isinstance(invalid, InvalidToolCall)
    assert (invalid.id, invalid.name, invalid.arguments_text) == ("x", "f", arguments)
    assert finished == Finished(FinishReason.STOP)


def test_a_call_without_a_name_is_reported() -> None:
    invalid = read(chunk(tool_calls=[piece(0, "x", None, "{}")]), chunk("tool_calls"))[0]
    assert isinstance(invalid, InvalidToolCall)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_edge_17_thinking_in_a_field_of_its_own(name: str) -> None:
    assert read(chunk(**{name: "Hm."}), chunk("stop", content="Yes."))[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


def test_edge_17_thinking_told_in_both_fields_is_told_once() -> None:
    assert read(chunk(reasoning="Hm.", reasoning_content="Hm."), chunk("stop"))[:1] == [ReasoningDelta("Hm.")]


def test_content_in_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    parts = [thinking, {"type": "text", "text": "Yes."}]
    assert read(chunk(content=parts), chunk("stop"))[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


def test_edge_21_a_refusal_is_said_and_told() -> None:
    assert read(chunk(refusal="I can't."), chunk("stop")) == [
        TextDelta("I can't."),
        Finished(FinishReason.CONTENT_FILTER),
    ]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", FinishReason.STOP),
        ("eos", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.STOP),
    ],
)
def test_reasons(reason: str, expected: FinishReason) -> None:
    assert read(chunk(content="A"), chunk(reason))[-1] == Finished(expected)


def test_a_call_is_the_reason_though_the_provider_says_stop() -> None:
    assert read(chunk(tool_calls=[piece(0, "x", "f", "{}")]), chunk("stop"))[-1] == Finished(FinishReason.TOOL_CALLS)


USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def test_edge_21_usage_comes_last_or_with_the_end_or_each_time() -> None:
    text, end = chunk(content="A"), chunk("stop")
    expected = [TextDelta("A"), Finished(FinishReason.STOP, Usage(7, 3))]
    assert read(text, end, {"choices": [], "usage": USAGE}) == expected
    assert read(text, {**end, "usage": USAGE}) == expected
    assert read({**text, "usage": {**USAGE, "completion_tokens": 1}}, {**end, "usage": USAGE}) == expected


def test_usage_in_detail() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert read({**chunk("stop"), "usage": {**USAGE, **details}})[-1] == Finished(
        FinishReason.STOP, Usage(7, 3, cached_input_tokens=5, reasoning_output_tokens=2)
    )


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 7}, {"prompt_tokens": -1, "completion_tokens": 3}, [1]])
def test_usage_that_makes_no_sense_is_none(usage: Any) -> None:
    assert read(chunk("stop"), {"choices": [], "usage": usage})[-1] == Finished(FinishReason.STOP, None)


def test_edge_21_empty_choices_mean_nothing() -> None:
    assert read({"choices": []}, {"prompt_filter_results": []}, chunk("stop", content="A"))[0] == TextDelta("A")


def test_edge_21_text_without_an_end_has_broken_off() -> None:
    with pytest.raises(ProviderFailure) as caught:
        read(chunk(content="A"))
    assert isinstance(caught.value.error, UpstreamError)


@pytest.mark.parametrize("event", [{"error": {"message": "no"}}, {"error": "no"}, chunk("error")])
def test_edge_21_an_error_in_the_stream(event: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailure):
        read(event)
