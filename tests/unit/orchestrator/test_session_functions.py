"""The state machine of a live session: functions that a response calls, and what follows their outputs."""

from typing import Any

import pytest

from orchestrator.commands import AnswerCalls, CancelResponse, FinishResponse, StartResponse, TurnInput
from orchestrator.session import Session
from orchestrator.tool_calls import Route
from services.common.errors import ToolOutputPendingError
from tests.support.session_states import say, session, speaking


def calling(*call_ids: str, **changes: Any) -> Session:
    """A session whose response `r_1` has called functions."""
    s = speaking(**changes)
    for call_id in call_ids:
        s.function_called("r_1", call_id)
    return s


CONTINUED = TurnInput(None, "en", continues=True)
"""In the language of the user's last words."""


def test_the_turn_continues_when_all_outputs_are_there() -> None:
    s = calling("a", "b")
    assert s.response_ended("r_1", 1.0, frozenset("ab")) == []
    assert s.function_output("a", 2.0) == (Route.NOW, [])
    assert s.function_output("b", 3.0) == (Route.NOW, [StartResponse("r_2", CONTINUED)])


def test_a_response_whose_outputs_are_there_does_not_wait_until_it_is_played() -> None:
    s = calling("a", "b")
    assert s.function_output("a", 1.0) == (Route.AFTER_RESPONSE, [])
    assert s.function_output("b", 1.1) == (Route.AFTER_RESPONSE, [FinishResponse("r_1")])
    assert s.response_ended("r_1", 1.2, frozenset("ab")) == [StartResponse("r_2", CONTINUED)]


def test_an_output_before_and_one_after_the_end() -> None:
    s = calling("a", "b")
    s.function_output("a", 1.0)
    assert s.response_ended("r_1", 1.2, frozenset("ab")) == []
    assert s.function_output("b", 3.0) == (Route.NOW, [StartResponse("r_2", CONTINUED)])


def test_who_speaks_meanwhile_is_answered_and_hears_of_the_output_later() -> None:
    s = calling("a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    assert say(s, "and what else?", "v", 2.0) == [
        AnswerCalls(("a",)),
        StartResponse("r_2", TurnInput("and what else?", "en")),
    ]
    assert s.function_output("a", 3.0) == (Route.LATE, [])
    assert s.response_ended("r_2", 4.0) == [StartResponse("r_3", CONTINUED)]


def test_nothing_is_begun_at_a_pause_while_an_output_is_missing() -> None:
    s = calling("a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    s.speech_started("v", 2.0)
    s.speech_paused("v")
    assert s.pause_transcribed("v", "well", "en", words=True) == []


def test_calls_of_a_response_that_was_cut_off_are_void() -> None:
    s = calling("a")
    s.speech_started("v", 1.0)
    assert s.words_heard("v", "stop", words=True) == [CancelResponse("r_1")]
    assert s.response_ended("r_1", 1.1, frozenset()) == []
    assert s.function_output("a", 2.0) == (Route.VOID, [])


def test_calls_that_the_history_kept_of_it_are_not() -> None:
    s = calling("a")
    s.speech_started("v", 1.0)
    s.words_heard("v", "stop", words=True)
    s.transcript_completed("v", "stop", "en", 1.05)
    answered = s.response_ended("r_1", 1.1, frozenset("a"))
    assert answered == [AnswerCalls(("a",)), StartResponse("r_2", TurnInput("stop", "en"))]


def test_edge_13_the_output_of_an_unknown_call_is_for_the_history_to_judge() -> None:
    assert session().function_output("x", 0.0) == (Route.UNKNOWN, [])


def test_edge_13_an_output_that_comes_twice_continues_once() -> None:
    s = calling("a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    s.function_output("a", 2.0)
    assert s.function_output("a", 2.1) == (Route.UNKNOWN, [])


def test_a_client_that_asks_for_what_continues_by_itself_gets_one_response() -> None:
    s = calling("a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    with pytest.raises(ToolOutputPendingError):
        s.response_requested(1.5)
    s.function_output("a", 2.0)
    assert s.response_requested(2.0) == []
    assert s.response_ended("r_2", 3.0) == []


def test_calls_that_an_earlier_session_left_are_waited_for() -> None:
    s = session()
    s.calls.restored(("a",))
    assert s.function_output("a", 0.0) == (Route.NOW, [StartResponse("r_1", TurnInput(None, continues=True))])


def test_a_client_that_asks_for_responses_itself_asks_for_this_one_too() -> None:
    s = session(create_response=False)
    s.response_requested(0.0)
    s.function_called("r_1", "a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    assert s.function_output("a", 2.0) == (Route.NOW, [])
    assert s.response_requested(2.0) == [StartResponse("r_2", TurnInput(None))]


def test_outputs_are_answered_only_where_that_is_asked_for_if_the_client_wants_it_so() -> None:
    s = session(continue_calls=False)
    s.response_requested(0.0)
    s.function_called("r_1", "a")
    s.response_ended("r_1", 1.0, frozenset("a"))
    assert s.function_output("a", 2.0) == (Route.NOW, [])
    assert s.response_requested(2.0) == [StartResponse("r_2", TurnInput(None))]
