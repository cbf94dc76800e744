"""A live stream: the order of its events, what audio it takes, and its end. No clock: audio is time."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UnsupportedAudioError
from services.stt.domain import Completed, SpeechStarted, SpeechStopped, Transcript
from services.stt.endpointing import EndpointingConfig
from tests.support.listening import OPTIONS, Stream, listen, texts
from tests.support.stt_doubles import ScriptedEngine, pcm16, silence, speech


async def test_an_utterance_starts_stops_and_is_transcribed_with_offsets_from_the_start_of_the_stream() -> None:
    events = await listen(ScriptedEngine(), pcm16(silence(1), speech(2), silence(1)))
    started, stopped, transcript, completed = events
    assert started == SpeechStarted(started.utterance_id, pytest.approx(1.0, abs=0.04))
    assert stopped == SpeechStopped(started.utterance_id, pytest.approx(3.0, abs=0.04))
    assert isinstance(transcript, Transcript)
    assert (transcript.utterance_id, transcript.is_final) == (started.utterance_id, True)
    assert (transcript.start_s, transcript.end_s) == (started.offset_s, stopped.offset_s)
    assert completed == Completed("scripted", audio_s=4.0, processing_s=0.125)


async def test_what_is_recognized_is_the_speech_with_its_padding_and_not_the_silence() -> None:
    engine = ScriptedEngine()
    await listen(engine, pcm16(silence(5), speech(2), silence(5)))
    assert [call.seconds for call in engine.calls] == [pytest.approx(2 + 0.3 + 0.03, abs=0.07)]


async def test_two_utterances_have_their_own_ids_and_offsets() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1), silence(1), speech(1), silence(1)))
    finals = [event for event in events if isinstance(event, Transcript)]
    assert len({event.utterance_id for event in finals}) == 2
    assert [round(event.start_s, 1) for event in finals] == [0.0, 2.0]


async def test_an_utterance_without_words_is_still_reported() -> None:
    events = await listen(ScriptedEngine(texts=[""]), pcm16(speech(1), silence(1)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Transcript, Completed]
    assert texts(events) == [""]


async def test_max_utterance_loses_no_audio() -> None:
    engine = ScriptedEngine()
    config = EndpointingConfig(max_utterance_s=2.0)
    events = await listen(engine, pcm16(speech(7), silence(1)), config=config)
    spoken = [call.seconds for call in engine.calls if not call.cancelled]
    assert sum(spoken) == pytest.approx(7.03, abs=0.05)
    started = [event.offset_s for event in events if isinstance(event, SpeechStarted)]
    stopped = [event.offset_s for event in events if isinstance(event, SpeechStopped)]
    assert len(started) == len(stopped) == len(texts(events)) >= 4
    assert started[1:] == stopped[:-1]


async def test_an_utterance_longer_than_a_window_is_one_transcript_of_several_recognitions() -> None:
    engine = ScriptedEngine(texts=["one", "two"])
    config = EndpointingConfig(max_utterance_s=60.0)
    events = await listen(engine, pcm16(speech(40), silence(1)), config=config)
    assert texts(events) == ["one two"]


async def test_an_engine_that_fails_ends_the_stream_with_its_error() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        await listen(ScriptedEngine(error=RuntimeError("broken")), pcm16(speech(1), silence(1)))


async def test_edge_29_half_a_sample_at_the_end_is_refused_after_the_final_transcript() -> None:
    stream = Stream(ScriptedEngine())
    stream.send(pcm16(speech(1)) + b"x", None)
    events = await stream.until(Transcript)
    assert texts(events) == ["said 1.00"]
    with pytest.raises(UnsupportedAudioError) as refused:
        await anext(stream.events)
    assert refused.value.field == "audio"


async def test_edge_29_half_samples_across_messages_are_no_matter() -> None:
    audio = pcm16(speech(1), silence(1))
    odd = [audio[at : at + 641] for at in range(0, len(audio), 641)]
    whole = texts(await listen(ScriptedEngine(), audio))
    assert texts(await listen(ScriptedEngine(), *odd)) == whole


async def test_edge_29_a_file_header_is_refused() -> None:
    with pytest.raises(UnsupportedAudioError, match="WAV"):
        await listen(ScriptedEngine(), b"RIFF" + bytes(1000))


async def test_other_rates_keep_the_offsets_of_the_stream() -> None:
    narrow = AudioFormat(Encoding.PCM_S16LE, 8_000)
    half = pcm16(silence(2), speech(2), silence(2))[: 3 * 32_000]
    audio = b"".join(half[at : at + 2] for at in range(0, len(half), 4))  # every second sample
    events = await listen(ScriptedEngine(), audio, options=replace(OPTIONS, audio_format=narrow))
    started = next(event for event in events if isinstance(event, SpeechStarted))
    assert started.offset_s == pytest.approx(2.0, abs=0.04)
    assert next(event for event in events if isinstance(event, Completed)).audio_s == pytest.approx(3.0, abs=0.001)


async def test_edge_29_ten_minutes_of_silence_keep_nothing_but_the_padding() -> None:
    engine = ScriptedEngine()
    stream = Stream(engine)
    minute = pcm16(silence(60))
    stream.send(*[minute] * 10, pcm16(speech(1), silence(1)), None)
    events = [event async for event in stream.events]
    assert len(texts(events)) == 1
    assert [call.seconds for call in engine.calls] == [pytest.approx(1.4, abs=0.07)]
    assert stream.segmenter.kept_samples <= 16_000


async def test_a_minute_in_one_message_leaves_others_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await listen(ScriptedEngine(), pcm16(silence(60)))
    counting.cancel()
    assert turns >= 60 * 4


async def test_a_client_that_leaves_stops_all_work_for_it() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    before = asyncio.all_tasks()
    stream = Stream(engine)
    stream.send(pcm16(speech(1), silence(1)))
    await stream.until(SpeechStopped)
    await stream.events.aclose()
    assert [call.cancelled for call in engine.calls] == [True]
    assert asyncio.all_tasks() == before


async def test_a_stream_that_outruns_the_model_is_read_no_further() -> None:
    engine = ScriptedEngine()
    engine.gate.clear()
    stream = Stream(engine)
    utterance = pcm16(speech(0.5), silence(1))
    stream.send(*[utterance] * 20)
    async with aclosing(stream.events):
        for _ in range(4):
            await stream.until(SpeechStopped)
        unread = stream.incoming.qsize()
        for _ in range(100):
            await asyncio.sleep(0)
        assert stream.incoming.qsize() == unread > 10
