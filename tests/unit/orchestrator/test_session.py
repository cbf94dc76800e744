"""The state machine of a live session, driven without a clock: turns, and what the client asks for."""

from typing import Any

import pytest

from orchestrator.commands import CancelResponse, KeepWords, Prefill, StartResponse, TurnInput
from orchestrator.domain import SessionConfig
from orchestrator.session import MAX_QUEUED_TURNS, State
from services.common.errors import InvalidArgumentError, OverloadedError
from tests.support.session_states import say, session, speaking, speculating


def test_what_two_interim_transcripts_agree_in_is_told_ahead_once_and_nothing_while_a_response_runs() -> None:
    s = session()
    s.speech_started("u", 0.0)
    assert s.words_heard("u", "and Mr.", words=True) == []
    assert s.words_heard("u", "And Mr. Dash", words=True) == []
    assert s.words_heard("u", "And Mr. Dashwood had", words=True) == [Prefill("And Mr.")]
    assert s.words_heard("u", "And Mr. Dashing", words=True) == []
    assert s.words_heard("other", "And Mr. Dashing had", words=True) == []
    assert s.words_heard("u", "And Mr. Dashing had", words=True) == [Prefill("And Mr. Dashing")]
    s.transcript_completed("u", "And Mr. Dashwood had then", "en", 1.0)
    s.speech_started("v", 2.0)
    s.words_heard("v", "mm", words=False)
    assert s.words_heard("v", "mm", words=False) == []


def test_speech_readies_the_model_and_its_transcript_starts_a_response() -> None:
    s = session()
    assert s.state is State.LISTENING
    assert s.speech_started("u", 0.0) == [Prefill()]
    assert s.state is State.USER_SPEAKING
    s.speech_stopped("u")
    assert s.state is State.USER_SPEAKING
    assert s.transcript_completed("u", "hello", "en", 1.0) == [StartResponse("r_1", TurnInput("hello", "en"))]
    assert s.state is State.THINKING
    s.audio_started("r_1")
    assert s.state is State.SPEAKING
    assert s.response_ended("r_1", 2.0) == []
    assert s.state is State.LISTENING


@pytest.mark.parametrize("text", ["", "  \n"])
def test_edge_31_an_empty_transcript_starts_no_turn(text: str) -> None:
    s = session()
    assert say(s, text) == []
    assert s.state is State.LISTENING


def test_a_backchannel_is_an_answer_like_any_other_where_the_agent_is_silent() -> None:
    s = session()
    s.speech_started("u", 0.0)
    assert s.transcript_completed("u", "yes", "en", 1.0, words=False) == [StartResponse("r_1", TurnInput("yes", "en"))]


def test_a_transcript_starts_nothing_where_the_client_asks_for_responses_itself() -> None:
    s = session(create_response=False)
    s.speech_started("u", 0.0)
    s.speech_paused("u")
    assert s.pause_transcribed("u", "one", "", words=True) == []
    assert s.transcript_completed("u", "one", "", 0.0) == [KeepWords("one")]
    assert s.response_requested(0.0) == [StartResponse("r_1", TurnInput(None))]


@pytest.mark.parametrize("end", ["the client's word", "a silence"])
def test_a_response_that_is_asked_for_waits_for_the_words_that_are_on_their_way(end: str) -> None:
    s = session(create_response=False)
    if end == "a silence":
        s.speech_started("u", 0.0)
        s.speech_stopped("u")
    else:
        s.turn_committed()
    assert s.response_requested(0.0) == []
    started = StartResponse("r_1", TurnInput(None, "en"))
    assert s.transcript_completed("u", "one", "en", 1.0) == [KeepWords("one"), started]


def test_a_response_that_waits_for_words_comes_without_them_where_they_are_lost() -> None:
    s = session(create_response=False)
    s.turn_committed()
    assert s.response_requested(0.0) == []
    assert s.speech_lost(1.0) == [StartResponse("r_1", TurnInput(None))]


def test_a_response_may_be_asked_for_with_a_configuration_of_its_own() -> None:
    config = SessionConfig(instructions="Rhyme.")
    assert session().response_requested(0.0, config) == [StartResponse("r_1", TurnInput(None, config=config))]


def test_speech_that_is_lost_leaves_the_user_silent() -> None:
    s = session()
    s.speech_started("u", 0.0)
    assert s.speech_lost(11.0) == []
    assert s.state is State.LISTENING


# The client's wishes
def test_cancel_stops_the_current_response_once() -> None:
    s = speaking()
    assert s.cancel_requested("") == [CancelResponse("r_1")]
    assert s.cancel_requested("r_1") == []
    assert s.state is State.LISTENING


@pytest.mark.parametrize("response_id", ["", "r_1", "r_7"])
def test_cancelling_what_does_not_run_is_an_error_that_names_the_field(response_id: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        session().cancel_requested(response_id)
    assert caught.value.field == "response_cancel.response_id"


def test_turns_that_wait_are_bounded() -> None:
    s = speaking(interrupt_response=False)
    for _ in range(MAX_QUEUED_TURNS):
        s.response_requested(0.0)
    with pytest.raises(OverloadedError):
        s.response_requested(0.0)


def test_the_end_of_an_old_response_changes_nothing() -> None:
    s = session()
    say(s, "one")
    s.response_ended("r_1", 0.0)
    say(s, "two")
    assert s.response_ended("r_1", 0.0) == []
    assert s.current == "r_2"
    s.audio_started("r_1")
    assert s.state is State.THINKING


@pytest.mark.parametrize("make", [speaking, speculating])
def test_abandoning_stops_what_runs_and_answers_nothing_that_waits(make: Any) -> None:
    s = make(interrupt_response=False)
    assert len(s.abandon()) == 1
    assert s.response_ended("r_1", 0.0) == []
    assert say(s, "two", "w") == []
