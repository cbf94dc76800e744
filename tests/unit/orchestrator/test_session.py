"""The state machine of a live session, driven without a clock."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.commands import (
    AnswerCalls,
    CancelResponse,
    Command,
    ConfirmResponse,
    DiscardResponse,
    FinishResponse,
    HoldResponse,
    KeepWords,
    Prefill,
    ResumeResponse,
    StartResponse,
    TurnInput,
)
from orchestrator.domain import SessionConfig
from orchestrator.session import MAX_QUEUED_TURNS, MAX_SPECULATIONS, Session, State
from orchestrator.tool_calls import Route
from services.common.errors import InvalidArgumentError, OverloadedError, ToolOutputPendingError


def session(**changes: Any) -> Session:
    return Session("r", **changes)


def say(s: Session, text: str, utterance: str = "u", now: float = 0.0) -> list[Command]:
    """One utterance from its beginning to its final transcript; returns what the last one commands."""
    s.speech_started(utterance, now)
    s.speech_stopped(utterance)
    return s.transcript_completed(utterance, text, "en", now)


def speaking(**changes: Any) -> Session:
    """A session whose response `r_1` is being played."""
    s = session(**changes)
    say(s, "tell me")
    s.audio_started("r_1")
    assert s.state is State.SPEAKING
    return s


def speculating(**changes: Any) -> Session:
    """A session that speculates, as `r_1`, on "what time is it"."""
    s = session(**changes)
    s.speech_started("u", 0.0)
    s.speech_paused("u")
    started = s.pause_transcribed("u", "What time is it", "en", words=True)
    assert started == [StartResponse("r_1", TurnInput("What time is it", "en"), speculative=True)]
    assert s.state is State.USER_SPEAKING
    return s


# One turn


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


# Barge-in


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


# Speculation


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


# Functions


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


# Whatever happens

EVENTS = (
    *("start", "pause", "pause text", "pause silence", "resume", "stop", "interim", "interim mm-hm"),
    *("final same", "final other", "final silence", "final mm-hm", "lost"),
    *("commit", "request", "cancel", "audio", "end", "time", "call", "output"),
)


class World:
    """Plays random events in any order, and checks each command against what is possible at that moment."""

    def __init__(self, machine: Session) -> None:
        self.s = machine
        self.now = 0.0
        self.utterance = 0
        self.calls = 0
        self.running: dict[str, str] = {}
        self.held: set[str] = set()
        self.started: list[str] = []

    def play(self, event: str) -> None:
        s, utterance = self.s, f"u{self.utterance}"
        self.now += 0.1
        if event == "start":
            self.utterance += 1
            self.obey(s.speech_started(f"u{self.utterance}", self.now))
        elif event == "pause":
            s.speech_paused(utterance)
        elif event.startswith("pause "):
            text = "words" if event == "pause text" else ""
            self.obey(s.pause_transcribed(utterance, text, "en", words=bool(text)))
        elif event == "resume":
            self.obey(s.speech_resumed(utterance, self.now))
        elif event == "stop":
            s.speech_stopped(utterance)
        elif event.startswith("interim"):
            self.obey(s.words_heard(utterance, "well", words=event == "interim"))
        elif event.startswith("final"):
            text = {"final same": "Words.", "final other": "other", "final mm-hm": "mm-hm"}.get(event, "")
            words = event in ("final same", "final other")
            self.obey(s.transcript_completed(utterance, text, "en", self.now, words=words))
        elif event == "lost":
            self.obey(s.speech_lost(self.now))
        elif event == "commit":
            s.turn_committed()
        elif event == "request":
            self.obey(s.response_requested(self.now))
        elif event == "cancel":
            self.obey(s.cancel_requested(""))
        elif event == "audio" and self.running:
            s.audio_started(next(iter(self.running)))
        elif event == "end" and self.running:
            self.end()
        elif event == "call" and self.running:
            self.calls += 1
            s.function_called(next(iter(self.running)), f"c{self.calls}")
        elif event == "output":
            self.obey(s.function_output(f"c{self.calls}", self.now)[1])
        elif event == "time" and s.wake_at is not None:
            self.now = s.wake_at
            self.obey(s.time_passed(self.now))

    def end(self) -> None:
        ended = next(iter(self.running))
        del self.running[ended]
        self.held.discard(ended)
        kept = frozenset({f"c{self.calls}"}) if self.calls % 2 else frozenset[str]()
        self.obey(self.s.response_ended(ended, self.now, kept))

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StartResponse(response_id, _, speculative):
                    assert not self.running, "one response at a time"
                    assert response_id not in self.started
                    self.started.append(response_id)
                    self.running[response_id] = "unknown" if speculative else "known"
                case ConfirmResponse(response_id):
                    assert self.running[response_id] == "unknown"
                    self.running[response_id] = "known"
                case DiscardResponse(response_id):
                    assert self.running[response_id] == "unknown", "what the client knows of is not discarded"
                    self.running[response_id] = "ending"
                case CancelResponse(response_id):
                    assert self.running[response_id] == "known", "it is cancelled once"
                    self.running[response_id] = "ending"
                case HoldResponse(response_id):
                    assert self.running[response_id] == "known"
                    assert response_id not in self.held
                    self.held.add(response_id)
                case FinishResponse(response_id):
                    assert self.running[response_id] == "known"
                case ResumeResponse(response_id):
                    assert self.running[response_id] == "known"
                    self.held.remove(response_id)
        self.check()

    def check(self) -> None:
        s = self.s
        assert s.current == next(iter(self.running), None)
        held = [name for name in self.held if self.running.get(name) == "known"]
        assert (s.state is State.HELD) is bool(held)
        assert (s.wake_at is not None) is bool(held), "what is held is woken"


@given(st.lists(st.sampled_from(EVENTS), max_size=80), st.booleans(), st.booleans())
def test_whatever_the_order_of_events_no_response_is_lost_doubled_or_left_held(
    events: list[str], interrupt: bool, speculation: bool
) -> None:
    world = World(session(interrupt_response=interrupt, speculation=speculation))
    for event in events:
        try:
            world.play(event)
        except (InvalidArgumentError, OverloadedError, ToolOutputPendingError):
            continue
    # The user falls silent: everything ends, and the machine is back where it began.
    world.play("final silence")
    world.play("time")
    for _ in range(MAX_QUEUED_TURNS + 2):
        world.play("end")
    assert not world.running
    assert world.s.state is State.LISTENING


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_after_any_history_the_next_words_are_answered_or_refused(events: list[str]) -> None:
    world = World(session())
    for event in events:
        try:
            world.play(event)
        except (InvalidArgumentError, OverloadedError, ToolOutputPendingError):
            continue
    before = len(world.started)
    world.play("start")
    world.play("stop")
    try:
        world.play("final other")
    except OverloadedError:
        return  # the client is told
    for _ in range(MAX_QUEUED_TURNS + 2):
        if len(world.started) > before:
            break
        world.play("end")
    assert len(world.started) > before
