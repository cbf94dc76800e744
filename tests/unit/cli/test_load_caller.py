"""A caller of a load run, in virtual time: a frame is 20 ms of it, and the server answers as the test says."""

from collections.abc import Iterator

import pytest
from parley_client import events

from cli.load.caller import Caller, NoAnswer, Speech
from cli.load.plan import LoadPlan
from cli.load.records import TurnEnded
from cli.pacing import FRAME_S

SPEECH, SILENCE = b"s", b"-"
RECORDING = Speech((SPEECH,) * 50, SILENCE)
"""A second of it."""
BEGUN_S = 100.0


class Call:
    """A caller whose audio is taken frame by frame; `at_s` is the time of the last one."""

    def __init__(self, plan: LoadPlan, number: int = 0) -> None:
        self.caller = Caller(number, plan, RECORDING, BEGUN_S)
        self._frames: Iterator[bytes] = self.caller.frames()
        self.sent: list[bytes] = []

    @property
    def at_s(self) -> float:
        return len(self.sent) * FRAME_S

    def pass_s(self, seconds: float) -> bytes:
        """Take audio of so many seconds; what it was."""
        taken = [next(self._frames) for _ in range(round(seconds / FRAME_S))]
        self.sent += taken
        return b"".join(taken)

    def to_the_end(self) -> bytes:
        rest = list(self._frames)
        self.sent += rest
        return b"".join(rest)

    def hear(self, *happened: events.Event) -> list[TurnEnded]:
        return [turn for event in happened for turn in self.caller.hear(event, self.at_s)]

    def heard(self, number: int) -> tuple[events.Event, ...]:
        """The server has heard the utterance that has just been said, to its end."""
        item, end_s = f"u{number}", self.at_s
        return (
            events.SpeechStarted(item, end_s - 1.0),
            events.SpeechStopped(item, end_s),
            events.FinalTranscript(item, "What is it?", "en"),
            events.ResponseStarted(f"r{number}"),
        )


def ended(number: int, outcome: events.Outcome = events.Outcome.COMPLETED) -> events.ResponseEnded:
    return events.ResponseEnded(f"r{number}", outcome, "Tea.", events.Timings(0.3, 0.4, 0.5, 0.6, 0.7, 2.0))


def audio(number: int) -> events.AudioDelta:
    return events.AudioDelta(f"r{number}", b"\0\0")


def test_they_speak_wait_for_the_answer_think_and_speak_again() -> None:
    call = Call(LoadPlan(1, turns=2, pause_s=0.5))
    assert call.pass_s(1.0) == SPEECH * 50
    call.hear(*call.heard(1))
    assert set(call.pass_s(0.4)) == set(SILENCE)
    call.hear(audio(1))
    assert set(call.pass_s(2.6)) == set(SILENCE)
    (turn,) = call.hear(ended(1))
    assert call.pass_s(0.6).rstrip(SPEECH) in (SILENCE * 25, SILENCE * 26)
    assert call.sent[-1:] == [SPEECH]
    call.pass_s(1.0)
    call.hear(*call.heard(2), audio(2))
    call.pass_s(2.1)
    call.hear(ended(2))
    assert len(call.to_the_end()) <= 1  # no thinking after the last answer
    assert turn == TurnEnded(
        at_s=BEGUN_S + 1.0,
        session=0,
        turn=0,
        outcome="completed",
        response_s=pytest.approx(0.4),
        steps={
            "endpointing": 0.3,
            "final_transcript": 0.4,
            "first_token": 0.5,
            "first_segment": 0.6,
            "first_audio": 0.7,
            "total": 2.0,
        },
        response_id="r1",
    )


def test_an_answer_to_be_interrupted_is_spoken_into_once_enough_was_heard() -> None:
    call = Call(LoadPlan(1, turns=2, barge_in=1.0, barge_in_after_s=0.6, pause_s=5.0))
    call.pass_s(1.0)
    call.hear(*call.heard(1), audio(1))
    assert call.pass_s(0.8).lstrip(SILENCE) == SPEECH * 10
    call.hear(events.SpeechStarted("u2", 1.65))
    (turn,) = call.hear(ended(1, events.Outcome.CANCELLED))
    assert (turn.outcome, turn.turn) == ("cancelled", 0)
    assert turn.stopped_s == pytest.approx(1.8 - 1.65)


def test_a_voice_that_was_no_interruption_is_not_counted_as_one() -> None:
    call = Call(LoadPlan(1, turns=2, barge_in=1.0))
    call.pass_s(1.0)
    call.hear(*call.heard(1), audio(1), events.SpeechStarted("u2", 0.9), audio(1))
    (turn,) = call.hear(ended(1))
    assert turn.stopped_s is None


def test_a_failed_answer_is_a_turn_with_its_reason_and_the_caller_goes_on() -> None:
    call = Call(LoadPlan(1, turns=2))
    call.pass_s(1.0)
    failed = events.TurnFailed("the language model service is not reachable", "UPSTREAM_ERROR")
    (turn,) = call.hear(*call.heard(1), failed, ended(1, events.Outcome.FAILED))
    assert (turn.outcome, turn.error, turn.response_s) == ("failed", "UPSTREAM_ERROR", None)
    assert SPEECH in call.pass_s(3.5)


def test_speech_that_was_lost_is_a_turn_without_an_answer_and_the_caller_goes_on() -> None:
    call = Call(LoadPlan(1, turns=2))
    call.pass_s(1.0)
    (turn,) = call.hear(events.SpeechStarted("u1", 0.1), events.TurnFailed("lost", "UPSTREAM_ERROR"))
    assert (turn.outcome, turn.error) == ("unanswered", "UPSTREAM_ERROR")
    assert SPEECH in call.pass_s(3.5)


def test_a_pause_in_the_recording_makes_one_answered_turn_of_two_utterances() -> None:
    call = Call(LoadPlan(1, turns=1))
    call.pass_s(1.0)
    first, second = call.heard(1)[:3], call.heard(2)
    assert call.hear(*first, *second, audio(2)) == []
    (turn,) = call.hear(ended(2))
    assert (turn.turn, turn.response_id) == (0, "r2")
    assert call.caller.hang_up() == []


@pytest.mark.parametrize("heard", [True, False])
def test_a_caller_hangs_up_when_nothing_comes(heard: bool) -> None:
    call = Call(LoadPlan(1, turns=2, patience_s=5.0))
    call.pass_s(1.0)
    if heard:
        call.hear(*call.heard(1)[:3])
    with pytest.raises(NoAnswer, match="nothing came for 5 s"):
        call.to_the_end()
    (turn,) = call.caller.hang_up()
    assert (turn.outcome, turn.at_s) == ("unanswered", BEGUN_S + 1.0)


def test_what_was_not_said_to_its_end_is_no_turn() -> None:
    call = Call(LoadPlan(1, turns=1))
    call.pass_s(0.5)
    assert call.caller.hang_up() == []


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 10), (0.5, 20), (1.0, 40)])
def test_the_share_of_interruptions_is_kept_exactly_and_evenly(share: float, count: int) -> None:
    plan = LoadPlan(10, turns=5, barge_in=share)
    chosen = [plan.interrupted(session) for session in range(10)]
    assert sum(map(len, chosen)) == count
    assert max(map(len, chosen)) - min(map(len, chosen)) <= 1
    assert all(turns <= {0, 1, 2, 3} for turns in chosen)


def test_sessions_begin_evenly_within_the_ramp() -> None:
    plan = LoadPlan(4, ramp_s=8.0)
    assert [plan.begins_s(session) for session in range(4)] == [0.0, 2.0, 4.0, 6.0]
