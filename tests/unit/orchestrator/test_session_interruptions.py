"""The state machine of a live session: what the user's voice does to a response."""

from orchestrator.commands import CancelResponse, HoldResponse, ResumeResponse, StartResponse, TurnInput
from orchestrator.session import State
from tests.support.session_states import say, session, speaking


def test_the_users_voice_holds_the_response_and_words_cancel_it() -> None:
    s = speaking()
    assert s.speech_started("v", 10.0) == [HoldResponse("r_1")]
    assert s.state is State.HELD
    assert s.wake_at == 12.0
    assert s.words_heard("v", "stop", words=False) == []
    assert s.words_heard("v", "stop", words=True) == [CancelResponse("r_1")]
    assert s.state is State.USER_SPEAKING
    assert s.wake_at is None


def test_a_response_that_is_not_heard_yet_is_held_too() -> None:
    s = session()
    say(s, "tell me")
    assert s.speech_started("v", 10.0) == [HoldResponse("r_1")]
    assert s.pause_transcribed("v", "", "", words=False) == []  # the user has not paused
    s.speech_paused("v")
    assert s.pause_transcribed("v", "", "", words=False) == [ResumeResponse("r_1")]
    assert s.state is State.THINKING


def test_nothing_said_lets_the_response_go_on() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    s.speech_stopped("v")
    assert s.transcript_completed("v", "", "", 11.0, words=False) == [ResumeResponse("r_1")]
    assert s.state is State.SPEAKING


def test_a_backchannel_lets_the_response_go_on_and_starts_no_turn() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    s.speech_paused("v")
    assert s.pause_transcribed("v", "mm-hm", "en", words=False) == [ResumeResponse("r_1")]
    assert s.transcript_completed("v", "mm-hm", "en", 11.0, words=False) == []
    assert s.state is State.SPEAKING
    assert s.response_ended("r_1", 12.0) == []


def test_who_goes_on_after_a_backchannel_is_waited_for_again() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    s.speech_paused("v")
    s.pause_transcribed("v", "yeah", "en", words=False)
    assert s.speech_resumed("v", 11.0) == [HoldResponse("r_1")]
    s.speech_paused("v")
    assert s.pause_transcribed("v", "yeah but wait", "en", words=True) == [CancelResponse("r_1")]


def test_without_words_the_response_goes_on_after_a_time_and_only_words_stop_it_then() -> None:
    s = speaking(false_interruption_timeout_s=2.0)
    s.speech_started("v", 10.0)
    assert s.time_passed(11.9) == []
    assert s.time_passed(12.0) == [ResumeResponse("r_1")]
    assert s.state is State.SPEAKING
    s.speech_paused("v")
    assert s.speech_resumed("v", 13.0) == []
    assert s.words_heard("v", "stop", words=True) == [CancelResponse("r_1")]


def test_speech_that_is_lost_lets_the_response_go_on() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    assert s.speech_lost(11.0) == [ResumeResponse("r_1")]


def test_the_successor_of_a_cancelled_response_waits_until_its_history_is_settled() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    assert s.transcript_completed("v", "two", "", 11.0) == [CancelResponse("r_1")]
    assert s.response_ended("r_1", 11.1) == [StartResponse("r_2", TurnInput("two"))]


def test_words_of_an_old_utterance_interrupt_nothing() -> None:
    s = speaking()
    s.speech_started("v", 10.0)
    assert s.words_heard("u", "stop", words=True) == []
    assert s.state is State.HELD


def test_a_response_that_begins_while_the_user_speaks_on_waits_for_their_words() -> None:
    s = session()
    s.speech_started("u", 0.0)
    s.speech_stopped("u")
    s.speech_started("v", 1.0)
    commands = s.transcript_completed("u", "one", "", 1.1)
    assert commands == [StartResponse("r_1", TurnInput("one")), HoldResponse("r_1")]
    assert s.words_heard("v", "stop", words=True) == [CancelResponse("r_1")]


def test_speech_does_not_interrupt_where_the_client_forbids_it_and_is_answered_afterwards() -> None:
    s = speaking(interrupt_response=False)
    assert s.speech_started("v", 10.0) == []
    assert s.words_heard("v", "stop", words=True) == []
    assert s.state is State.SPEAKING
    assert s.transcript_completed("v", "two", "", 11.0) == []
    assert s.response_ended("r_1", 12.0) == [StartResponse("r_2", TurnInput("two"))]
