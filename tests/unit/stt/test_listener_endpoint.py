"""How long the end of an utterance is waited for, and what is decoded ahead of it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from services.common.audio import Samples
from services.stt.domain import (
    Completed,
    ModelInfo,
    Recognition,
    RecognitionRequest,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from services.stt.endpointing import EndpointingConfig
from tests.support.listening import INTERIM, Stream, listen, texts
from tests.support.stt_doubles import ScriptedEngine, ScriptedTurnEnd, pcm16, silence, speech


async def test_the_final_transcript_is_computed_before_the_endpoint_and_follows_it_at_once() -> None:
    engine = ScriptedEngine()
    stream = Stream(engine)
    stream.send(pcm16(speech(1), silence(0.3)))  # a soft silence, no endpoint yet
    async with aclosing(stream.events):
        await stream.until(SpeechStarted)
        await engine.called.wait()
        assert len(engine.calls) == 1
        stream.send(pcm16(silence(0.3)))
        events = await stream.until(Transcript)
    assert [type(event) for event in events] == [SpeechStopped, Transcript]
    assert len(engine.calls) == 1
    adopted = {"outcome": "adopted"}
    assert stream.registry.get_sample_value("parley_stt_recognitions_ahead_total", adopted) == 1


async def test_a_decode_ahead_that_still_runs_at_the_endpoint_is_waited_for_not_begun_again() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine)
    stream.send(pcm16(speech(1), silence(1)))
    async with aclosing(stream.events):
        await stream.until(SpeechStopped)
        engine.gate.set()
        assert texts(await stream.until(Transcript)) != []
    assert len(engine.calls) == 1


async def test_a_decode_ahead_is_dropped_when_the_speaker_goes_on() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine)
    stream.send(pcm16(speech(1), silence(0.3)))
    async with aclosing(stream.events):
        await stream.until(SpeechStarted)
        await engine.called.wait()
        stream.send(pcm16(speech(1), silence(1)))
        await stream.until(SpeechStopped)
        engine.gate.set()
        transcript = (await stream.until(Transcript))[-1]
    first, last = engine.calls
    assert first.cancelled
    assert not last.cancelled
    assert last.seconds == pytest.approx(1 + 0.3 + 1 + 0.03, abs=0.07)
    assert texts([transcript]) == [f"said {last.seconds:.2f}"]


ADAPTIVE = EndpointingConfig(min_end_silence_s=0.3, end_silence_s=0.5, max_end_silence_s=1.2)


async def closed_after_s(stream: Stream, silent_s: float) -> float:
    """Seconds of silence, frame after frame, until the utterance is closed; `silent_s` of it was sent already."""
    await stream.read.wait()
    while stream.endpointer.speaking:
        stream.send(pcm16(silence(0.032)))
        await stream.read.wait()
        silent_s += 0.032
    return silent_s


@pytest.mark.parametrize(
    ("said", "wait_s"), [("What is the time?", 0.3), ("what is the time", 0.5), ("What is the time and", 1.2)]
)
async def test_how_long_an_end_is_waited_for_depends_on_what_was_said(said: str, wait_s: float) -> None:
    stream = Stream(ScriptedEngine(texts=[said]), config=ADAPTIVE)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.2)))
        await stream.until(SpeechStarted)
        assert await closed_after_s(stream, 0.2) == pytest.approx(wait_s, abs=0.07)
        assert texts(await stream.until(Transcript)) == [said]


@pytest.mark.parametrize(
    ("said", "probability", "wait_s"),
    [
        ("What is the time?", 0.9, 0.3),
        ("What is the time?", 0.1, 0.5),
        ("what is the time", 0.9, 0.3),
        ("what is the time", 0.1, 1.2),
        ("What is the time and", 0.9, 1.2),
    ],
)
async def test_a_turn_end_model_shortens_or_lengthens_the_wait_and_is_told_of(
    said: str, probability: float, wait_s: float
) -> None:
    turn_end = ScriptedTurnEnd(probability)
    stream = Stream(ScriptedEngine(texts=[said]), config=ADAPTIVE, turn_end=turn_end)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.2)))
        await stream.until(SpeechStarted)
        assert await closed_after_s(stream, 0.2) == pytest.approx(wait_s, abs=0.07)
        stopped = (await stream.until(SpeechStopped))[-1]
        assert isinstance(stopped, SpeechStopped)
        assert stopped.turn_end_probability == probability
    assert turn_end.heard_s == [pytest.approx(1 + 0.03, abs=0.07)]


@pytest.mark.parametrize("answer", [0.1, ValueError("broken")])
async def test_nothing_waits_for_a_turn_end_model_that_is_late_or_fails(answer: float | Exception) -> None:
    turn_end = ScriptedTurnEnd(answer)
    if not isinstance(answer, Exception):
        turn_end.gate.clear()
    stream = Stream(ScriptedEngine(texts=["What is the time?"]), config=ADAPTIVE, turn_end=turn_end)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.2)))
        await stream.until(SpeechStarted)
        assert await closed_after_s(stream, 0.2) == pytest.approx(0.3, abs=0.07)
        stopped, final = (await stream.until(Transcript))[-2:]
    assert isinstance(stopped, SpeechStopped)
    assert stopped.turn_end_probability is None
    assert texts([final]) == ["What is the time?"]


async def test_a_turn_end_model_alone_decides_nothing() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine, config=ADAPTIVE, turn_end=ScriptedTurnEnd(0.99))
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.2)))
        await stream.until(SpeechStarted)
        assert await closed_after_s(stream, 0.2) == pytest.approx(0.5, abs=0.07)


async def test_what_a_turn_end_model_heard_at_a_pause_counts_no_more_when_the_speaker_goes_on() -> None:
    stream = Stream(ScriptedEngine(), config=ADAPTIVE, turn_end=ScriptedTurnEnd(0.1, ValueError("broken")))
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.2)))
        await stream.until(SpeechStarted)
        await stream.read.wait()
        stream.send(pcm16(speech(1), silence(0.2)))
        assert await closed_after_s(stream, 0.2) == pytest.approx(0.5, abs=0.07)
        stopped = (await stream.until(SpeechStopped))[-1]
    assert isinstance(stopped, SpeechStopped)
    assert stopped.turn_end_probability is None


async def test_pauses_are_told_with_the_text_so_far_to_those_who_asked() -> None:
    engine = ScriptedEngine(texts=["What is", "What is the time?"])
    stream = Stream(engine, pauses=True)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1), silence(0.3)))
        started, paused, at_pause = await stream.until(Transcript)
        stream.send(pcm16(speech(1), silence(0.3)))
        resumed, paused_again, whole = await stream.until(Transcript)
        stream.send(pcm16(silence(1)))
        stopped, final = await stream.until(Transcript)
    assert isinstance(started, SpeechStarted)
    assert paused == SpeechPaused(started.utterance_id, pytest.approx(1.0, abs=0.04))
    assert isinstance(at_pause, Transcript)
    assert (at_pause.text, at_pause.at_pause, at_pause.is_final) == ("What is", True, False)
    assert resumed == SpeechResumed(started.utterance_id)
    assert isinstance(paused_again, SpeechPaused)
    assert isinstance(whole, Transcript)
    assert isinstance(stopped, SpeechStopped)
    assert isinstance(final, Transcript)
    assert (final.text, final.is_final, final.at_pause) == (whole.text, True, False)
    assert len(engine.calls) == 2


async def test_a_pause_inside_a_sentence_gives_one_utterance() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1), silence(0.4), speech(1), silence(1)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Transcript, Completed]


async def test_what_an_engine_knows_early_is_shown_at_the_pause() -> None:
    class Aloud(ScriptedEngine):
        async def recognize_aloud(
            self, samples: Samples, request: RecognitionRequest, heard: Callable[[Recognition], None]
        ) -> Recognition:
            for text in ("He was", "He was not"):
                heard(Recognition(text, "en", quick=True))
                await asyncio.sleep(0)
            return await self.recognize(samples, request)

        @property
        def info(self) -> ModelInfo:
            return replace(super().info, recognizes_meanwhile=False)

    engine = Aloud(texts=["He was not here."])
    events = await listen(engine, pcm16(speech(2), silence(1)), options=INTERIM)
    assert texts(events, final=False)[:2] == ["He was", "He was not"]
    assert texts(events) == ["He was not here."]
    assert [call.interim for call in engine.calls] == [False]
