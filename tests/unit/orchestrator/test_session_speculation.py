"""The state machine of a live session: responses that are begun at a pause."""

import pytest

from orchestrator.commands import CancelResponse, ConfirmResponse, DiscardResponse, StartResponse, TurnInput
from orchestrator.session import MAX_SPECULATIONS, State
from services.common.errors import InvalidArgumentError
from tests.support.session_states import session, speaking, speculating


def test_the_same_words_at_the_end_confirm_the_speculation() -> None:
    s = speculating()
    s.speech_stopped("u")
    assert s.transcript_completed("u", "What time is it?", "en", 1.0) == [ConfirmResponse("r_1")]
    assert s.state is State.THINKING


def test_other_words_at_the_end_discard_it_and_are_answered() -> None:
    s = speculating()
    s.speech_stopped("u")
    assert s.transcript_completed("u", "What time is it in Rome?", "en", 1.0) == [DiscardResponse("r_1")]
    assert s.response_ended("r_1", 1.0) == [StartResponse("r_2", TurnInput("What time is it in Rome?", "en"))]


def test_who_goes_on_is_not_answered_and_tries_are_limited() -> None:
    s = speculating()
    for number in range(1, MAX_SPECULATIONS + 1):
        assert s.speech_resumed("u", 1.0) == [DiscardResponse(f"r_{number}")]
        assert s.response_ended(f"r_{number}", 1.0) == []
        s.speech_paused("u")
        started = s.pause_transcribed("u", f"words {number}", "en", words=True)
        assert bool(started) is (number < MAX_SPECULATIONS)
    assert s.transcript_completed("u", "words", "en", 2.0) == [StartResponse("r_4", TurnInput("words", "en"))]


def test_nothing_said_at_the_end_discards_it() -> None:
    s = speculating()
    assert s.transcript_completed("u", "", "", 1.0, words=False) == [DiscardResponse("r_1")]
    assert s.state is State.LISTENING


def test_a_speculation_waits_for_the_end_of_the_response_that_the_same_words_interrupted() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    s.speech_paused("v")
    assert s.pause_transcribed("v", "stop it", "en", words=True) == [CancelResponse("r_1")]
    started = StartResponse("r_2", TurnInput("stop it", "en"), speculative=True)
    assert s.response_ended("r_1", 10.1) == [started]
    assert s.transcript_completed("v", "Stop it.", "en", 10.5) == [ConfirmResponse("r_2")]


def test_a_guess_is_void_once_the_user_goes_on_before_it_could_begin() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    s.speech_paused("v")
    s.pause_transcribed("v", "stop it", "en", words=True)
    s.speech_resumed("v", 10.1)
    assert s.response_ended("r_1", 10.2) == []


def test_a_speculation_that_ends_by_itself_is_started_anew_by_the_final_words() -> None:
    s = speculating()
    s.response_ended("r_1", 0.5)
    assert s.transcript_completed("u", "What time is it", "en", 1.0) == [
        StartResponse("r_2", TurnInput("What time is it", "en"))
    ]


def test_the_client_cannot_cancel_what_it_does_not_know_of() -> None:
    s = speculating()
    with pytest.raises(InvalidArgumentError):
        s.cancel_requested("")


def test_a_response_that_is_asked_for_goes_before_a_speculation() -> None:
    s = speculating()
    assert s.response_requested(1.0) == [DiscardResponse("r_1")]
    assert s.response_ended("r_1", 1.0)[0] == StartResponse("r_2", TurnInput(None))


def test_without_the_flag_nothing_is_speculated() -> None:
    s = session(speculation=False)
    s.speech_started("u", 0.0)
    s.speech_paused("u")
    assert s.pause_transcribed("u", "What time is it", "en", words=True) == []
