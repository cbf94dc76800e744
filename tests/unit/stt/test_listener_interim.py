"""Transcripts while the user speaks: when a live stream asks for them."""

from contextlib import aclosing

from services.stt.domain import SpeechStarted, SpeechStopped, Transcript
from services.stt.endpointing import EndpointingConfig
from tests.support.listening import FORCE, INTERIM, Stream, listen, texts
from tests.support.stt_doubles import ScriptedEngine, pcm16, silence, speech


async def test_interim_transcripts_grow_with_the_utterance() -> None:
    engine = ScriptedEngine()
    stream = Stream(engine, INTERIM)
    async with aclosing(stream.events):
        heard = []
        for _ in range(4):
            stream.send(pcm16(speech(0.6)))
            heard += texts(await stream.until(Transcript), final=False)
            await stream.read.wait()
    seconds = [call.seconds for call in engine.calls]
    assert seconds == sorted(set(seconds))
    assert all(call.interim for call in engine.calls)
    assert heard == [f"said {length:.2f}" for length in seconds]


async def test_an_interim_recognition_begins_neither_while_the_last_one_runs_nor_while_a_final_one_is_due() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine, INTERIM)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(3)))
        await stream.until(SpeechStarted)
        await stream.read.wait()
        assert [call.interim for call in engine.calls] == [True]
        stream.send(FORCE, pcm16(speech(3)))
        await stream.until(SpeechStopped)
        await stream.read.wait()
        assert [call.interim for call in engine.calls] == [True, False]
        assert engine.calls[0].cancelled


async def test_no_interim_recognition_while_nothing_new_is_said() -> None:
    engine = ScriptedEngine()
    config = EndpointingConfig(end_silence_s=10.0, soft_silence_s=0)
    stream = Stream(engine, INTERIM, config)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(0.7)))
        await stream.until(Transcript)
        for _ in range(10):
            stream.send(pcm16(silence(0.6)))
            await stream.read.wait()
        assert len(engine.calls) == 1


async def test_an_interim_recognition_that_is_due_in_a_silence_begins_when_the_speaker_goes_on() -> None:
    engine = ScriptedEngine()
    stream = Stream(engine, INTERIM, EndpointingConfig(end_silence_s=10.0, soft_silence_s=0))
    async with aclosing(stream.events):
        stream.send(pcm16(speech(0.4), silence(0.2)))
        await stream.until(SpeechStarted)
        await stream.read.wait()
        assert not engine.calls
        stream.send(pcm16(speech(0.1)))
        assert texts(await stream.until(Transcript), final=False)


async def test_an_interim_recognition_that_a_silence_stopped_begins_again_when_the_speaker_goes_on() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine, INTERIM)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(0.6)))
        await stream.until(SpeechStarted)
        await stream.read.wait()
        stream.send(pcm16(silence(0.15)))
        await stream.read.wait()
        assert [call.interim for call in engine.calls] == [True, False]
        stream.send(pcm16(speech(0.1)))
        await stream.read.wait()
        engine.gate.set()
        assert texts(await stream.until(Transcript), final=False)
    assert [(call.interim, call.cancelled) for call in engine.calls] == [(True, True), (False, True), (True, False)]


async def test_without_interim_results_none_are_computed() -> None:
    engine = ScriptedEngine()
    assert texts(await listen(engine, pcm16(speech(5), silence(1))), final=False) == []
    assert not any(call.interim for call in engine.calls)


async def test_a_failing_interim_recognition_does_not_end_the_stream() -> None:
    engine = ScriptedEngine(error=RuntimeError("broken"))
    stream = Stream(engine, INTERIM)
    async with aclosing(stream.events):
        stream.send(pcm16(speech(1)))
        await stream.until(SpeechStarted)
        await stream.read.wait()
        engine.error = None
        stream.send(pcm16(silence(1)))
        while not texts(await stream.until(Transcript)):
            pass
