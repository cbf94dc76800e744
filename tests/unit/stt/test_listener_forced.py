"""An utterance whose end the client tells, and streams that end in the middle of one."""

import pytest

from services.stt.domain import Completed, SpeechStarted, SpeechStopped, Transcript
from tests.support.listening import FORCE, listen, texts
from tests.support.stt_doubles import ScriptedEngine, pcm16, silence, speech


async def test_force_is_answered_while_someone_speaks() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1)), FORCE)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Transcript, Completed]
    assert texts(events) == ["said 1.00"]


@pytest.mark.parametrize("manual_end", [False, True])
async def test_force_is_answered_with_an_empty_transcript_where_nothing_was_said(manual_end: bool) -> None:
    engine = ScriptedEngine()
    events = await listen(engine, FORCE, pcm16(silence(2)), FORCE, manual_end=manual_end)
    assert [type(event) for event in events] == [SpeechStopped, Transcript, SpeechStopped, Transcript, Completed]
    assert texts(events) == ["", ""]
    assert [event.offset_s for event in events if isinstance(event, SpeechStopped)] == [0.0, 2.0]
    assert engine.calls == []


async def test_every_force_is_answered_even_right_after_the_endpointer_closed_the_utterance() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1), silence(1)), FORCE, FORCE)
    assert [bool(text) for text in texts(events)] == [True, False, False]


async def test_speech_that_goes_on_after_force_is_the_next_utterance_and_nothing_is_heard_twice() -> None:
    engine = ScriptedEngine()
    await listen(engine, pcm16(speech(1)), FORCE, pcm16(speech(1), silence(1)))
    assert [call.seconds for call in engine.calls] == [1.0, pytest.approx(1.1, abs=0.07)]


async def test_half_closing_flushes_what_is_being_said() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1.5)))
    assert texts(events) == ["said 1.50"]
    assert isinstance(events[-1], Completed)


async def test_half_closing_in_silence_completes_without_a_transcript() -> None:
    assert await listen(ScriptedEngine(), pcm16(silence(2))) == [Completed("scripted", 2.0, 0.0)]
    assert await listen(ScriptedEngine()) == [Completed("scripted", 0.0, 0.0)]


async def test_with_manual_end_pauses_of_any_length_belong_to_the_utterance() -> None:
    engine = ScriptedEngine(texts=["dropped", "first", "second", "third"])
    audio = pcm16(speech(1), silence(1), speech(1), silence(4), speech(1), silence(4), speech(1))
    events = await listen(engine, audio, FORCE, manual_end=True)
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Transcript, Completed]
    assert texts(events) == ["first second third"]
    assert [call.seconds for call in engine.calls] == [
        pytest.approx(length, abs=0.07) for length in (1.1, 3.1, 1.4, 1.3)
    ]


async def test_with_manual_end_force_in_a_long_pause_closes_the_utterance() -> None:
    events = await listen(ScriptedEngine(texts=["only"]), pcm16(speech(1), silence(5)), FORCE, manual_end=True)
    assert texts(events) == ["only"]
    stopped = next(event for event in events if isinstance(event, SpeechStopped))
    assert stopped.offset_s == pytest.approx(1.0, abs=0.04)


async def test_with_manual_end_half_closing_in_a_long_pause_delivers_the_utterance() -> None:
    events = await listen(ScriptedEngine(texts=["only"]), pcm16(speech(1), silence(5)), manual_end=True)
    assert texts(events) == ["only"]
