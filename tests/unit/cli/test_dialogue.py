"""What a conversation's events amount to, and when nothing more is to come."""

import pytest
from parley_client import events

from cli.dialogue import UNKNOWN, Dialogue
from cli.talk import Talk
from services.common.audio_format import AudioFormat, Encoding

QUESTION = (
    events.SpeechStarted("u1", 0.3),
    events.InterimTranscript("u1", "What is"),
    events.SpeechStopped("u1", 1.5),
    events.FinalTranscript("u1", " What is it? ", "en"),
)
ANSWER = (
    events.ResponseStarted("r1"),
    events.TextDelta("r1", "It is "),
    events.TextDelta("r1", "tea."),
    events.AudioDelta("r1", b"\0" * 960),
    events.AudioDelta("r1", b"\0" * 480),
    events.ResponseEnded("r1", events.Outcome.COMPLETED, "It is tea.", events.Timings(endpointing_s=0.5)),
)


def fed(*happened: events.Event) -> Dialogue:
    """A dialogue in which something happens every 0.1 s from 1.0 s on."""
    dialogue = Dialogue()
    for number, event in enumerate(happened):
        dialogue.feed(event, 1.0 + number / 10)
    return dialogue


def test_a_turn_has_what_was_said_and_answered() -> None:
    (turn,) = fed(*QUESTION, *ANSWER).turns
    assert (turn.transcript, turn.language) == ("What is it?", "en")
    assert (turn.answer, turn.spoken) == ("It is tea.", "It is tea.")
    assert (turn.outcome, turn.audio_bytes) == (events.Outcome.COMPLETED, 1440)
    assert turn.timings == events.Timings(endpointing_s=0.5)


def test_first_audio_is_measured_from_the_end_of_speech_in_the_recording() -> None:
    (turn,) = fed(*QUESTION, *ANSWER).turns
    assert turn.first_audio_s == pytest.approx(1.7 - 1.5)  # the eighth event carries the first audio


@pytest.mark.parametrize("count", range(1, 10))
def test_something_is_to_come_until_the_answer_has_ended(count: int) -> None:
    assert fed(*(QUESTION + ANSWER)[:count]).waiting


def test_nothing_is_to_come_before_and_after() -> None:
    assert not fed().waiting
    assert not fed(*QUESTION, *ANSWER).waiting


def test_what_was_lost_with_the_stream_is_not_waited_for() -> None:
    assert fed(*QUESTION, ANSWER[0]).waiting
    assert not fed(*QUESTION, ANSWER[0], events.Reconnected("s2")).waiting


def test_a_failed_answer_has_its_reason_and_its_own_end() -> None:
    failed = events.TurnFailed("not reachable", "UPSTREAM_ERROR")
    dialogue = fed(*QUESTION, ANSWER[0], failed)
    assert (dialogue.turns[0].error, dialogue.waiting) == ("UPSTREAM_ERROR", True)


@pytest.mark.parametrize("count", range(1, 5))
def test_nothing_is_to_come_of_a_turn_that_failed_before_its_answer(count: int) -> None:
    dialogue = fed(*QUESTION[:count], events.TurnFailed("not reachable", ""))
    (turn,) = dialogue.turns
    assert (turn.error, dialogue.waiting) == (UNKNOWN, False)


def test_an_utterance_without_words_is_no_turn() -> None:
    dialogue = fed(QUESTION[0], QUESTION[2], events.FinalTranscript("u1", "  ", ""))
    assert dialogue.turns == []
    assert not dialogue.waiting


def test_answers_go_to_their_turns() -> None:
    dialogue = fed(
        *QUESTION,
        events.ResponseStarted("r1"),
        events.SpeechStarted("u2", 3.0),
        events.ResponseEnded("r1", events.Outcome.CANCELLED, "It", None),
        events.SpeechStopped("u2", 4.0),
        events.FinalTranscript("u2", "And that?", "en"),
        events.ResponseStarted("r2"),
        events.TextDelta("r2", "Milk."),
        events.ResponseEnded("r2", events.Outcome.COMPLETED, "Milk.", None),
    )
    assert [(t.transcript, t.answer, t.outcome) for t in dialogue.turns] == [
        ("What is it?", "", events.Outcome.CANCELLED),
        ("And that?", "Milk.", events.Outcome.COMPLETED),
    ]
    assert not dialogue.waiting


def test_a_turn_that_the_user_spoke_over_may_stay_without_an_answer() -> None:
    dialogue = fed(*QUESTION, events.SpeechStarted("u2", 2.0), events.FinalTranscript("u2", "", ""))
    assert [turn.superseded for turn in dialogue.turns] == [True]
    assert not dialogue.waiting


def test_words_that_are_transcribed_while_the_user_says_others_may_stay_without_an_answer() -> None:
    dialogue = fed(
        *QUESTION[:3],
        events.SpeechStarted("u2", 2.0),
        events.SpeechStopped("u2", 3.0),
        QUESTION[3],
        events.SpeechStarted("u2", 3.0),  # again, to stop an answer
        events.FinalTranscript("u2", "And that?", "en"),
        *ANSWER,
    )
    assert [(turn.superseded, turn.response_id) for turn in dialogue.turns] == [(True, ""), (False, "r1")]
    assert not dialogue.waiting


def test_events_of_unknown_responses_change_nothing() -> None:
    dialogue = fed(events.TextDelta("r9", "?"), events.AudioDelta("r9", b"\0\0"))
    assert dialogue.turns == []


def test_a_turn_becomes_plain_json_data() -> None:
    (turn,) = fed(*QUESTION, *ANSWER).turns
    data = turn.as_dict()
    assert data["outcome"] == "completed"
    assert data["timings"]["endpointing_s"] == 0.5


def test_speech_that_comes_again_is_kept_once() -> None:
    talk = Talk(AudioFormat(Encoding.PCM_S16LE, 8000), "c")
    for event in (
        events.AudioDelta("r1", b"\1\0" * 800, 0.0),
        events.AudioDelta("r1", b"\2\0" * 800, 0.1),
        events.AudioDelta("r1", b"\3\0" * 800, 0.05),  # the answer went on from there after a cough
        events.AudioDelta("r2", b"\4\0" * 10, 0.0),
        events.AudioDelta("r2", b"\5\0" * 10),
    ):
        talk.add_audio(event)
    assert talk.audio == b"\1\0" * 400 + b"\3\0" * 800 + b"\4\0" * 10 + b"\5\0" * 10
