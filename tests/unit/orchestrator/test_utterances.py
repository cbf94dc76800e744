"""Utterances that are heard once more, by another recognition, are the same to the client."""

from orchestrator.domain import (
    ListeningEvent,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
)
from orchestrator.utterances import Utterance, Utterances


def told(utterances: Utterances, *events: ListeningEvent) -> list[ListeningEvent]:
    """What the client is told; what it is told the words of is done with."""
    heard = []
    for event in map(utterances.told, events):
        if event is not None:
            heard.append(event)
            if isinstance(event, TranscriptCompleted):
                utterances.transcribed(event.item_id)
    return heard


def test_what_is_heard_once_is_told_as_it_is() -> None:
    utterances = Utterances()
    heard: list[ListeningEvent] = [
        SpeechStarted("a", 1.0),
        TranscriptUpdated("a", "he"),
        SpeechPaused("a", 1.5),
        SpeechResumed("a"),
        SpeechStopped("a", 2.0),
        SpeechStarted("b", 3.0),
        TranscriptCompleted("a", "hello", "en"),
    ]
    assert told(utterances, *heard) == heard
    assert utterances.since_s == 3.0
    assert told(utterances, TranscriptCompleted("b", "")) == [TranscriptCompleted("b", "")]
    assert utterances.since_s is None


def test_what_is_heard_again_keeps_its_name_and_is_not_told_again() -> None:
    utterances = Utterances()
    told(utterances, SpeechStarted("a", 1.0), SpeechStopped("a", 2.0), SpeechStarted("b", 3.0))
    utterances.begin_again()
    again: list[ListeningEvent] = [
        SpeechStarted("x", 1.1),
        SpeechPaused("x", 1.5),
        SpeechResumed("x"),
        SpeechStopped("x", 2.1),
        SpeechStarted("y", 3.1),
        TranscriptCompleted("x", "one"),
        SpeechStopped("y", 4.0),
        TranscriptCompleted("y", "two"),
        SpeechStarted("z", 5.0),
    ]
    assert told(utterances, *again) == [
        TranscriptCompleted("a", "one"),
        SpeechStopped("b", 4.0),
        TranscriptCompleted("b", "two"),
        SpeechStarted("z", 5.0),
    ]


def test_an_end_without_speech_is_an_utterance_too() -> None:
    utterances = Utterances()
    told(utterances, SpeechStopped("a", 1.0))
    utterances.begin_again()
    assert told(utterances, SpeechStopped("x", 1.0), TranscriptCompleted("x", "")) == [TranscriptCompleted("a", "")]
    assert utterances.since_s is None


def test_a_transcript_is_due_for_what_has_ended_by_whoever_ended_it() -> None:
    utterances = Utterances()
    told(utterances, SpeechStarted("a", 1.0))
    assert not utterances.any_ended
    utterances.turn_ended()
    assert utterances.any_ended, "before the service says so"
    told(utterances, SpeechStopped("a", 2.0), SpeechStarted("b", 3.0), SpeechStopped("b", 4.0))
    assert utterances.transcribed("a") == Utterance("a", 1.0, 2.0, by_client=True)
    assert utterances.any_ended
    assert utterances.transcribed("b") == Utterance("b", 3.0, 4.0, by_client=False)
    assert not utterances.any_ended
    assert utterances.transcribed("b") is None


def test_an_end_that_is_heard_again_is_still_whose_it_was() -> None:
    utterances = Utterances()
    utterances.turn_ended()
    told(utterances, SpeechStarted("a", 1.0), SpeechStopped("a", 2.0))
    utterances.begin_again()
    assert utterances.any_ended
    assert told(utterances, SpeechStarted("x", 1.1), SpeechStopped("x", 2.1)) == []
    assert utterances.transcribed("a") == Utterance("a", 1.0, 2.0, by_client=True)


def test_where_nothing_will_be_transcribed_nothing_is_due() -> None:
    utterances = Utterances()
    told(utterances, SpeechStarted("a", 1.0), SpeechStopped("a", 2.0))
    utterances.turn_ended()
    utterances.clear()
    assert (utterances.any_ended, utterances.since_s) == (False, None)
