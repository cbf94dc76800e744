"""What servers make of the events of `/responses`."""

from typing import Any

import pytest

from services.common.errors import UpstreamError
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.responses_reader import ResponsesReader
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
    Usage,
)

DONE: dict[str, Any] = {"type": "response.completed", "response": {"status": "completed"}}


def read(*events: dict[str, Any]) -> list[BackendEvent]:
    """All that the events give, but for where calls begin."""
    reader = ResponsesReader(ToolIds(()))
    found = [event for each in events for event in reader.feed(each)]
    return [event for event in found + reader.end() if not isinstance(event, ToolCallStarted)]


def completed(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"status": status, "output": list(output), **fields}}


def delta(text: str, kind: str = "output_text", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "delta": text, **fields}


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "id": "m", "content": [{"type": "output_text", "text": text}]}


CALL = {"type": "function_call", "id": "fc", "call_id": "x", "name": "f", "arguments": '{"a": 1}'}
CALLED = ToolCallEvent(ToolCall("x", "f", '{"a": 1}'))


def test_edge_08_a_call_is_told_when_it_begins_and_once() -> None:
    reader = ResponsesReader(ToolIds(()))
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}}
    assert reader.feed(added) == [ToolCallStarted()]
    assert reader.feed(delta('{"a"', "function_call_arguments", output_index=0, item_id="fc")) == []


@pytest.mark.parametrize("names", [{"output_index": 0, "item_id": "m"}, {"output_index": 0}, {"item_id": "m"}, {}])
def test_text_that_is_told_again_and_again_comes_once(names: dict[str, Any]) -> None:
    events = read(
        {"type": "response.created", "response": {}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m"}},
        delta("Hel", **names),
        delta("lo", **names),
        {"type": "response.output_text.done", "text": "Hello", **names},
        {"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hello"}, **names},
        {"type": "response.output_item.done", "output_index": 0, "item": message("Hello")},
        completed(message("Hello"), usage={"input_tokens": 7, "output_tokens": 2}),
    )
    assert events == [TextDelta("Hel"), TextDelta("lo"), Finished(FinishReason.STOP, Usage(7, 2))]


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "response.output_text.done", "output_index": 0, "text": "Hello"}, DONE],
        [{"type": "response.output_item.done", "output_index": 0, "item": message("Hello")}, DONE],
        [completed(message("Hello"))],
    ],
)
def test_text_that_is_told_only_whole(events: list[dict[str, Any]]) -> None:
    assert read(*events) == [TextDelta("Hello"), Finished(FinishReason.STOP)]


NAMES = {"output_index": 0, "item_id": "fc"}
ADDED = {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}}
ARGUMENTS_DONE = {"type": "response.function_call_arguments.done", "arguments": '{"a": 1}', "name": "f"}
ITEM_DONE = {"type": "response.output_item.done", "output_index": 0, "item": CALL}


@pytest.mark.parametrize(
    "events",
    [
        [ADDED, delta('{"a"', "function_call_arguments", **NAMES), delta(": 1}", "function_call_arguments", **NAMES)],
        [ADDED, {**ARGUMENTS_DONE, **NAMES}, ITEM_DONE],
        [ADDED, {**ARGUMENTS_DONE, "item_id": "fc"}, ITEM_DONE],
        [ADDED, {**ARGUMENTS_DONE, "output_index": 0}],
        [{**ARGUMENTS_DONE, **NAMES}, ITEM_DONE],
        [ITEM_DONE],
        [ITEM_DONE, completed(CALL)],
        [completed(CALL)],
        [delta("{", "function_call_arguments", item_id="fc"), ITEM_DONE, completed(CALL)],
    ],
)
def test_edge_09_a_call_however_it_is_told_comes_once(events: list[dict[str, Any]]) -> None:
    if not events[-1]["type"].startswith("response.completed"):
        events = [*events, DONE]
    assert read(*events) == [CALLED, Finished(FinishReason.TOOL_CALLS)]


def test_edge_10_two_calls() -> None:
    second = {**CALL, "call_id": "y", "id": "fc2", "name": "g"}
    events = read(ITEM_DONE, {**ITEM_DONE, "output_index": 1, "item": second}, completed(CALL, second))
    assert [event.call.name for event in events if isinstance(event, ToolCallEvent)] == ["f", "g"]


def test_calls_whose_places_are_all_the_same() -> None:
    second = {**CALL, "call_id": "y", "id": "fc2", "name": "g"}
    events = read(ITEM_DONE, {**ITEM_DONE, "item": second}, completed(CALL, second))
    assert [event.call.name for event in events if isinstance(event, ToolCallEvent)] == ["f", "g"]


@pytest.mark.parametrize("kind", ["reasoning_text", "reasoning_summary_text", "reasoning"])
def test_edge_17_reasoning_is_thinking(kind: str) -> None:
    assert read(delta("Hm.", kind, output_index=0), delta("Yes.", output_index=1), DONE)[:2] == [
        ReasoningDelta("Hm."),
        TextDelta("Yes."),
    ]


def test_edge_17_reasoning_that_is_told_only_whole() -> None:
    item = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]}
    assert read(completed(item, message("Yes.")))[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


def test_edge_21_a_refusal_is_said_and_told() -> None:
    events = read(delta("I can't.", "refusal", output_index=0), DONE)
    assert events == [TextDelta("I can't."), Finished(FinishReason.CONTENT_FILTER)]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_output_tokens", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)],
)
def test_edge_21_incomplete_says_why(reason: str, expected: FinishReason) -> None:
    end = completed(status="incomplete", incomplete_details={"reason": reason})
    assert read(delta("A"), end)[-1] == Finished(expected)


@pytest.mark.parametrize(
    "event",
    [
        completed(status="failed", error={"code": "server_error", "message": "no"}),
        completed(status="failed"),
        completed(status="incomplete"),
        {"type": "error", "code": "server_error", "message": "no"},
        {"error": {"message": "no"}},
        {"type": "response.completed"},
    ],
)
def test_edge_21_failures(event: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailure) as caught:
        read(delta("A"), event)
    assert isinstance(caught.value.error, UpstreamError)


def test_edge_21_a_stream_without_an_end_has_broken_off() -> None:
    with pytest.raises(ProviderFailure):
        read(delta("A"))


def test_an_answer_as_long_as_it_may_be_was_cut_though_the_server_does_not_say_so() -> None:
    end = completed(message("A"), usage={"input_tokens": 7, "output_tokens": 3})
    for limit, reason in ((3, FinishReason.LENGTH), (4, FinishReason.STOP)):
        finished = ResponsesReader(ToolIds(()), limit).feed(end)[-1]
        assert finished == Finished(reason, Usage(7, 3))


def test_usage_in_detail() -> None:
    usage = {
        "input_tokens": 7,
        "output_tokens": 3,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    assert read(completed(message("A"), usage=usage))[-1] == Finished(FinishReason.STOP, Usage(7, 3, 5, 2))
