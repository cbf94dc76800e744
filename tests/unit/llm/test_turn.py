"""A turn: from backend events to what the client receives and the history keeps."""

import pytest

from services.common.errors import UpstreamError
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    Message,
    ReasoningDelta,
    Role,
    SpeechSegment,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallEvent,
    TurnOutput,
    Usage,
)
from services.llm.speech.segments import Segmenter
from services.llm.turn import Turn

STOP = Finished(FinishReason.STOP, Usage(3, 4))
CALL = ToolCall("call_1", "get_weather", '{"city": "Paris"}')


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
    turn = Turn(Segmenter(3, 3))
    outputs = play(turn, TextDelta("Let me look"), ToolCallEvent(CALL), Finished(FinishReason.TOOL_CALLS))
    assert outputs == [TextDelta("Let me look"), SpeechSegment(0, "Let me look", 1), ToolCallEvent(CALL)]
    assert turn.answer() == (Message(Role.ASSISTANT, (TextPart("Let me look"),), (CALL,)),)


def test_edge_14_a_tool_call_without_text_is_an_answer() -> None:
    turn = Turn(None)
    play(turn, ToolCallEvent(CALL), Finished(FinishReason.TOOL_CALLS))
    assert turn.answer() == (Message(Role.ASSISTANT, (), (CALL,)),)


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
