"""A turn: from backend events to what the client receives and the history keeps."""

import pytest

from services.common.errors import UpstreamError
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    SpeechSegment,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
    TurnOutput,
    Usage,
)
from services.llm.speech.segments import Segmenter
from services.llm.turn import Turn

STOP = Finished(FinishReason.STOP, Usage(3, 4))
CALL = ToolCall("call_1", "get_weather", '{"city": "Paris"}')
TOOLS = (Tool("get_weather", "", ""), Tool("get_time", "", ""))
CALLED = Finished(FinishReason.TOOL_CALLS)


def play(turn: Turn, *events: BackendEvent) -> list[TurnOutput]:
    return [output for event in events for output in turn.feed(event)]


def spoken(outputs: list[TurnOutput]) -> list[str]:
    return [output.text for output in outputs if isinstance(output, SpeechSegment)]


def test_text_goes_on_verbatim_and_segments_follow_it() -> None:
    turn = Turn(Segmenter(1, 3))
    outputs = play(turn, TextDelta("**Hi** there."), TextDelta(" Next"), STOP)
    assert outputs == [
        TextDelta("**Hi** there."),
        TextDelta(" Next"),
        SpeechSegment(0, "Hi there.", 1),
        SpeechSegment(1, "Next", 1),
    ]
    assert turn.finished == STOP


def test_the_history_gets_what_was_generated_byte_for_byte() -> None:
    turn = Turn(Segmenter(1, 3))
    play(turn, TextDelta("  **Hi** 👋\n\n"), TextDelta("there. "), STOP)
    assert turn.answer() == (Message(Role.ASSISTANT, (TextPart("  **Hi** 👋\n\nthere. "),)),)


def test_without_a_segmenter_there_are_no_segments() -> None:
    assert play(Turn(None), TextDelta("Hi. There."), STOP) == [TextDelta("Hi. There.")]


def test_edge_16_thinking_is_never_spoken_nor_kept() -> None:
    turn = Turn(Segmenter(1, 3))
    outputs = play(turn, TextDelta("<think>Hm. Let me"), TextDelta(" see.</thi"), TextDelta("nk>Four."), STOP)
    assert [output for output in outputs if isinstance(output, ReasoningDelta)] == [
        ReasoningDelta("Hm. Let me"),
        ReasoningDelta(" see."),
    ]
    assert spoken(outputs) == ["Four."]
    assert turn.answer()[0].text == "Four."


def test_edge_16_thinking_that_was_never_opened_is_not_kept_and_its_rest_not_spoken() -> None:
    turn = Turn(Segmenter(1, 3))
    outputs = play(turn, TextDelta("I should say four</think>Four."), STOP)
    assert spoken(outputs) == ["Four."]
    assert turn.answer()[0].text == "Four."


def test_edge_17_a_backend_may_tell_thinking_itself() -> None:
    turn = Turn(Segmenter(1, 3))
    assert play(turn, ReasoningDelta("Hm."), TextDelta("Four."), STOP)[:2] == [
        ReasoningDelta("Hm."),
        TextDelta("Four."),
    ]
    assert turn.answer()[0].text == "Four."


def test_edge_08_the_lead_in_of_a_tool_call_is_spoken_before_it() -> None:
    turn = Turn(Segmenter(3, 3), TOOLS)
    outputs = play(turn, TextDelta("Let me look"), ToolCallEvent(CALL), Finished(FinishReason.TOOL_CALLS))
    assert outputs == [TextDelta("Let me look"), SpeechSegment(0, "Let me look", 1), ToolCallEvent(CALL)]
    assert turn.answer() == (Message(Role.ASSISTANT, (TextPart("Let me look"),), (CALL,)),)


def test_edge_14_a_tool_call_without_text_is_an_answer() -> None:
    turn = Turn(None, TOOLS)
    play(turn, ToolCallEvent(CALL), Finished(FinishReason.TOOL_CALLS))
    assert turn.answer() == (Message(Role.ASSISTANT, (), (CALL,)),)


def test_edge_08_the_lead_in_is_spoken_as_soon_as_a_call_begins() -> None:
    turn = Turn(Segmenter(3, 3), TOOLS)
    assert spoken(play(turn, TextDelta("Let me look"), ToolCallStarted())) == ["Let me look"]
    assert play(turn, ToolCallEvent(CALL)) == [ToolCallEvent(CALL)]


def test_edge_11_markup_that_a_provider_leaves_in_the_text_is_a_call_and_never_spoken() -> None:
    turn = Turn(Segmenter(3, 3), TOOLS)
    text = 'Let me look.\n<tool_call>{"name": "get_time"}</tool_call>\n<tool_call>{}</tool_call></tool_response> Well.'
    outputs = play(turn, *(TextDelta(character) for character in text), STOP)
    assert spoken(outputs) == ["Let me look.", "Well."]
    (call,) = [output.call for output in outputs if isinstance(output, ToolCallEvent)]
    (broken,) = [output for output in outputs if isinstance(output, InvalidToolCall)]
    assert (call.name, call.arguments_json, broken.arguments_text) == ("get_time", "{}", "{}")
    assert [message.text for message in turn.answer()] == ["Let me look.\n", " Well."]
    assert turn.finished == Finished(FinishReason.TOOL_CALLS, STOP.usage)


def test_edge_09_text_tool_text_keeps_its_order_in_output_and_history() -> None:
    turn = Turn(None, TOOLS)
    outputs = play(turn, TextDelta("Let me see."), ToolCallEvent(CALL), TextDelta("One "), TextDelta("moment."), CALLED)
    assert outputs == [TextDelta("Let me see."), ToolCallEvent(CALL), TextDelta("One "), TextDelta("moment.")]
    assert turn.answer() == (
        Message(Role.ASSISTANT, (TextPart("Let me see."),), (CALL,)),
        Message(Role.ASSISTANT, (TextPart("One moment."),)),
    )


def test_edge_10_missing_and_repeated_ids_are_made_unique_in_the_conversation() -> None:
    turn = Turn(None, TOOLS, {"call_1"})
    made = play(turn, *(ToolCallEvent(ToolCall(id_, "get_time", "")) for id_ in ("", "", "call_1", "call_2", "call_2")))
    ids = [event.call.id for event in made if isinstance(event, ToolCallEvent)]
    assert len({*ids, "call_1"}) == 6
    assert "call_2" in ids
    assert [call.id for call in turn.answer()[0].tool_calls] == ids


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("get_weather", '{"city": "Par', "the arguments are not valid JSON"),
        ("get_weather", '{"city": NaN}', "the arguments are not valid JSON"),
        ("get_weather", "[" * 100_000, "the arguments are not valid JSON"),
        ("get_weather", '"Paris"', "the arguments are no JSON object"),
        ("launch_rocket", "{}", "there is no such tool"),
    ],
)
def test_edge_12_a_broken_call_is_reported_and_its_good_sibling_delivered(
    name: str, arguments: str, error: str
) -> None:
    turn = Turn(None, TOOLS)
    outputs = play(turn, ToolCallEvent(ToolCall("call_0", name, arguments)), ToolCallEvent(CALL), CALLED)
    assert outputs == [InvalidToolCall("call_0", name, arguments, error), ToolCallEvent(CALL)]
    assert turn.answer() == (Message(Role.ASSISTANT, (), (CALL,)),)


def test_edge_12_an_answer_of_broken_calls_alone_is_reported_and_no_success() -> None:
    turn = Turn(None, TOOLS)
    broken = InvalidToolCall("", "get_weather", "{", "the call is not valid JSON")
    (reported,) = turn.feed(broken)
    assert isinstance(reported, InvalidToolCall)
    assert reported.id
    assert turn.answer() == ()
    with pytest.raises(UpstreamError, match="cannot be carried out"):
        turn.feed(CALLED)


@pytest.mark.parametrize("told", [FinishReason.STOP, FinishReason.TOOL_CALLS])
def test_the_reason_of_the_end_says_whether_tools_are_called(told: FinishReason) -> None:
    calls, text = Turn(None, TOOLS), Turn(None)
    play(calls, ToolCallEvent(CALL), Finished(told))
    play(text, TextDelta("Hi."), Finished(told))
    assert calls.finished == Finished(FinishReason.TOOL_CALLS)
    assert text.finished == Finished(FinishReason.STOP)


@pytest.mark.parametrize("events", [(), (TextDelta(" \n"),), (TextDelta("<think>Hm."),), (ReasoningDelta("Hm."),)])
@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.LENGTH])
def test_an_empty_answer_is_no_success(events: tuple[BackendEvent, ...], reason: FinishReason) -> None:
    with pytest.raises(UpstreamError, match="gave no answer"):
        play(Turn(Segmenter(1, 3)), *events, Finished(reason))


def test_a_filtered_answer_may_be_empty() -> None:
    turn = Turn(None)
    assert play(turn, Finished(FinishReason.CONTENT_FILTER)) == []
    assert turn.answer() == ()


def test_what_looks_like_a_tag_at_the_very_end_is_text() -> None:
    turn = Turn(Segmenter(1, 3))
    outputs = play(turn, TextDelta("5 <"), STOP)
    assert [output for output in outputs if isinstance(output, TextDelta)] == [TextDelta("5 "), TextDelta("<")]
    assert spoken(outputs) == ["5 <"]
