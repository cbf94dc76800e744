"""A live stream: the order of its events, decoding ahead of the endpoint, and its end. No clock: audio is time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.common import tracing
from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UnsupportedAudioError
from services.stt.domain import (
    Completed,
    Event,
    ModelInfo,
    Recognition,
    RecognitionRequest,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StreamOptions,
    Transcript,
    TranscriptionOptions,
)
from services.stt.endpointing import Endpointer, EndpointingConfig
from services.stt.listener import ForceEnd, Listener
from services.stt.metrics import SttMetrics
from services.stt.schedule import Schedule
from services.stt.segmenter import VoiceSegmenter
from tests.support.spans import recorded
from tests.support.stt_doubles import PCM16, ScriptedEngine, ScriptedTurnEnd, pcm16, silence, speech

OPTIONS = TranscriptionOptions(PCM16, RecognitionRequest("en"), "en")
INTERIM = replace(OPTIONS, interim_results=True)
FORCE = ForceEnd()


class Stream:
    """A stream that the test feeds step by step."""

    def __init__(
        self,
        engine: ScriptedEngine,
        options: TranscriptionOptions = OPTIONS,
        config: EndpointingConfig | None = None,
        *,
        manual_end: bool = False,
        pauses: bool = False,
        turn_end: ScriptedTurnEnd | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        stream_options = StreamOptions(options, config or EndpointingConfig(), manual_end, pauses)
        self.endpointer = Endpointer(stream_options.endpointing, manual_end=manual_end)
        self.segmenter = VoiceSegmenter(options.audio_format, engine.new_detector(), self.endpointer)
        self.listener = Listener(
            Schedule(engine), self.segmenter, stream_options, 0.5, SttMetrics(self.registry), turn_end
        )
        self.incoming: asyncio.Queue[bytes | ForceEnd | None] = asyncio.Queue()
        self.events = self.listener.listen(self._read())
        self.read = asyncio.Event()

    async def _read(self) -> AsyncIterator[bytes | ForceEnd]:
        while True:
            if self.incoming.empty():
                self.read.set()
            item = await self.incoming.get()
            if item is None:
                return
            yield item

    def send(self, *items: bytes | ForceEnd | None) -> None:
        self.read.clear()
        for item in items:
            self.incoming.put_nowait(item)

    async def until(self, kind: type[Event]) -> list[Event]:
        events: list[Event] = []
        async for event in self.events:
            events.append(event)
            if isinstance(event, kind):
                return events
        raise AssertionError(f"the stream ended without {kind.__name__}: {events}")


async def listen(
    engine: ScriptedEngine,
    *items: bytes | ForceEnd,
    options: TranscriptionOptions = OPTIONS,
    config: EndpointingConfig | None = None,
    manual_end: bool = False,
) -> list[Event]:
    """All events of a stream of these items."""
    stream = Stream(engine, options, config, manual_end=manual_end)
    stream.send(*items, None)
    return [event async for event in stream.events]


def texts(events: list[Event], *, final: bool = True) -> list[str]:
    return [event.text for event in events if isinstance(event, Transcript) and event.is_final == final]


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
    assert [call.seconds for call in engine.calls] == [pytest.approx(2 + 0.3 + 0.1, abs=0.07)]


async def test_two_utterances_have_their_own_ids_and_offsets() -> None:
    events = await listen(ScriptedEngine(), pcm16(speech(1), silence(1), speech(1), silence(1)))
    finals = [event for event in events if isinstance(event, Transcript)]
    assert len({event.utterance_id for event in finals}) == 2
    assert [round(event.start_s, 1) for event in finals] == [0.0, 2.0]


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
    assert last.seconds == pytest.approx(1 + 0.3 + 1 + 0.1, abs=0.07)
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
    assert turn_end.heard_s == [pytest.approx(1 + 0.1, abs=0.07)]


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


async def test_an_utterance_without_words_is_still_reported() -> None:
    events = await listen(ScriptedEngine(texts=[""]), pcm16(speech(1), silence(1)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, Transcript, Completed]
    assert texts(events) == [""]


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


async def test_max_utterance_loses_no_audio() -> None:
    engine = ScriptedEngine()
    config = EndpointingConfig(max_utterance_s=2.0)
    events = await listen(engine, pcm16(speech(7), silence(1)), config=config)
    spoken = [call.seconds for call in engine.calls if not call.cancelled]
    assert sum(spoken) == pytest.approx(7.1, abs=0.05)
    started = [event.offset_s for event in events if isinstance(event, SpeechStarted)]
    stopped = [event.offset_s for event in events if isinstance(event, SpeechStopped)]
    assert len(started) == len(stopped) == len(texts(events)) >= 4
    assert started[1:] == stopped[:-1]


async def test_an_utterance_longer_than_a_window_is_one_transcript_of_several_recognitions() -> None:
    engine = ScriptedEngine(texts=["one", "two"])
    config = EndpointingConfig(max_utterance_s=60.0)
    events = await listen(engine, pcm16(speech(40), silence(1)), config=config)
    assert texts(events) == ["one two"]


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


def counts(stream: Stream) -> dict[str, float | None]:
    names = ("endpointing_delay", "finalization_delay", "time_to_first_interim")
    return {name: stream.registry.get_sample_value(f"parley_stt_{name}_seconds_count") for name in names}


async def test_how_soon_an_utterance_was_known_is_measured_once() -> None:
    stream = Stream(ScriptedEngine(), INTERIM)
    stream.send(pcm16(silence(1), speech(2), silence(2)), None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 1, "finalization_delay": 1, "time_to_first_interim": 1}
    assert stream.registry.get_sample_value("parley_stt_audio_seconds_total") == pytest.approx(5.0)
    finals = {"kind": "final"}
    assert stream.registry.get_sample_value("parley_stt_real_time_factor_count", finals) == 1


async def test_where_the_client_ends_the_utterance_there_is_no_endpointing_delay() -> None:
    stream = Stream(ScriptedEngine(), manual_end=True)
    stream.send(pcm16(silence(1), speech(2)), FORCE, None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 0, "finalization_delay": 1, "time_to_first_interim": 0}


async def test_silence_is_no_utterance_to_measure() -> None:
    stream = Stream(ScriptedEngine())
    stream.send(pcm16(silence(3)), FORCE, None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 0, "finalization_delay": 0, "time_to_first_interim": 0}


async def test_an_utterance_is_a_part_of_the_turn_s_trace_and_tells_its_text_only_where_that_is_asked_for() -> None:
    for content in (False, True):
        with recorded(content=content) as spans:
            with tracing.begin("call"):
                said = await listen(ScriptedEngine(), pcm16(silence(1), speech(2), silence(1)))
            turn = tracing.of_utterance(next(event.utterance_id for event in said if isinstance(event, SpeechStarted)))
        recognized, utterance, _ = spans
        assert utterance.parent == turn
        assert recognized.parent == utterance.context
        assert [name for name, _ in utterance.events] == ["end of speech", "turn ended"]
        assert utterance.attributes.get("parley.stt.transcript") == (texts(said)[0] if content else None)


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
