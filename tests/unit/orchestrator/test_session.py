"""The state machine of a live session, driven without a clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.session import MAX_QUEUED_TURNS, CancelResponse, Session, StartResponse, State, TurnInput
from services.common.errors import InvalidArgumentError, OverloadedError


def session(**changes: bool) -> Session:
    return Session("r", **changes)


def test_speech_then_transcript_starts_a_response() -> None:
    s = session()
    assert s.speech_started() == []
    assert s.state is State.USER_SPEAKING
    assert s.transcript_completed("hello", "en") == [StartResponse("r_1", TurnInput("hello", "en"))]
    assert s.state is State.THINKING
    s.audio_started("r_1")
    assert s.state is State.SPEAKING
    assert s.response_ended("r_1") == []
    assert s.state is State.LISTENING


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_transcript_starts_no_turn(text: str) -> None:
    s = session()
    s.speech_started()
    assert s.transcript_completed(text, "en") == []
    assert s.state is State.LISTENING


def test_speech_interrupts_the_response_and_its_successor_waits_until_the_history_is_settled() -> None:
    s = session()
    s.transcript_completed("one", "")
    assert s.speech_started() == [CancelResponse("r_1")]
    assert s.transcript_completed("two", "") == []  # r_1 is not settled yet
    assert s.response_ended("r_1") == [StartResponse("r_2", TurnInput("two"))]


def test_speech_does_not_interrupt_where_the_client_forbids_it_and_is_answered_afterwards() -> None:
    s = session(interrupt_response=False)
    s.transcript_completed("one", "")
    s.audio_started("r_1")
    assert s.speech_started() == []
    assert s.state is State.SPEAKING
    assert s.transcript_completed("two", "") == []
    assert s.response_ended("r_1") == [StartResponse("r_2", TurnInput("two"))]


def test_a_transcript_starts_nothing_where_the_client_asks_for_responses_itself() -> None:
    s = session(create_response=False)
    s.speech_started()
    assert s.transcript_completed("one", "") == []
    assert s.response_requested() == [StartResponse("r_1", TurnInput(None))]


def test_cancel_stops_the_current_response_once() -> None:
    s = session()
    s.transcript_completed("one", "")
    assert s.cancel_requested("") == [CancelResponse("r_1")]
    assert s.cancel_requested("r_1") == []


@pytest.mark.parametrize("response_id", ["", "r_1", "r_7"])
def test_cancelling_what_does_not_run_is_an_error_that_names_the_field(response_id: str) -> None:
    s = session()
    with pytest.raises(InvalidArgumentError) as caught:
        s.cancel_requested(response_id)
    assert caught.value.field == "response_cancel.response_id"


def test_turns_that_wait_are_bounded() -> None:
    s = session(interrupt_response=False)
    s.transcript_completed("first", "")
    for _ in range(MAX_QUEUED_TURNS):
        s.response_requested()
    with pytest.raises(OverloadedError):
        s.response_requested()


def test_the_end_of_an_old_response_changes_nothing() -> None:
    s = session()
    s.transcript_completed("one", "")
    s.response_ended("r_1")
    s.transcript_completed("two", "")
    assert s.response_ended("r_1") == []
    assert s.current == "r_2"
    s.audio_started("r_1")
    assert s.state is State.THINKING


def test_abandoning_answers_nothing_that_waits() -> None:
    s = session(interrupt_response=False)
    s.transcript_completed("one", "")
    s.transcript_completed("two", "")
    assert s.abandon() == [CancelResponse("r_1")]
    assert s.response_ended("r_1") == []


@given(
    st.lists(st.sampled_from(["speech", "text", "silence", "request", "cancel", "audio", "end"]), max_size=60),
    st.booleans(),
)
def test_whatever_the_order_of_events_one_response_runs_at_a_time_and_none_is_lost(
    events: list[str], interrupt: bool
) -> None:
    s = session(interrupt_response=interrupt)
    running: list[str] = []
    started: list[str] = []
    for event in events:
        commands = []
        try:
            if event == "speech":
                commands = s.speech_started()
            elif event == "text":
                commands = s.transcript_completed("words", "en")
            elif event == "silence":
                commands = s.transcript_completed("", "en")
            elif event == "request":
                commands = s.response_requested()
            elif event == "cancel":
                commands = s.cancel_requested("")
            elif event == "audio" and running:
                s.audio_started(running[0])
            elif event == "end" and running:
                commands = s.response_ended(running.pop())
        except (InvalidArgumentError, OverloadedError):
            continue
        for command in commands:
            if isinstance(command, StartResponse):
                running.append(command.response_id)
                started.append(command.response_id)
            else:
                assert running == [command.response_id]
        assert len(running) <= 1
        assert s.current == (running[0] if running else None)
    assert len(started) == len(set(started))
    while running:
        running = [c.response_id for c in s.response_ended(running[0]) if isinstance(c, StartResponse)]
    assert s.state in (State.LISTENING, State.USER_SPEAKING)
