"""From a request to its events, with a scripted engine."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.common import tracing
from services.common.admission import AdmissionQueue
from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, OverloadedError, StartupError
from services.tts.domain import Chunk, Completed, Event, Segment, Started, SynthesisRequest, Voice
from services.tts.engines.base import Engine
from services.tts.metrics import TtsMetrics
from services.tts.reading.lexicon import Lexicon
from services.tts.synthesizer import Synthesizer
from tests.support.spans import recorded

RATE = 16_000
NATIVE = AudioFormat(Encoding.PCM_S16LE, RATE)
PHONE = AudioFormat(Encoding.MULAW, 8_000)


class ScriptedEngine(Engine):
    """Gives the blocks that it is told to give, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, *blocks: Samples, error: Exception | None = None) -> None:
        super().__init__()
        self._blocks = blocks
        self._error = error
        self.segments: list[Segment] = []
        self.waiting: asyncio.Event | None = None
        self.closed = False

    async def load(self) -> None:
        latin = frozenset({"LATIN"})
        self.voices = (Voice("ann", self.name, ("en-US",), NATIVE, latin), Voice("bob", self.name, ("de",), NATIVE))
        self.default_voice = "ann"

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        self.segments.append(segment)
        try:
            for block in self._blocks:
                yield block
            if self.waiting is not None:
                await self.waiting.wait()
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def synthesizer(engine: Engine, *, running: int = 4, waiting: int = 4, default_voice: str = "") -> Synthesizer:
    admission = AdmissionQueue("syntheses", running=running, waiting=waiting)
    made = Synthesizer(engine, admission, default_voice=default_voice, max_characters=100)
    await made.load()
    return made


async def events(made: Synthesizer, request: SynthesisRequest) -> list[Event]:
    return [event async for event in made.synthesize(request)]


def second() -> Samples:
    return np.full(RATE, 0.25, np.float32)


async def test_events_come_in_the_order_of_the_contract_and_add_up() -> None:
    made = await synthesizer(ScriptedEngine(second(), second()))
    started, *chunks, completed = await events(made, SynthesisRequest("Hello."))
    assert started == Started("ann", NATIVE)
    assert all(isinstance(chunk, Chunk) for chunk in chunks)
    assert sum(len(chunk.data) for chunk in chunks if isinstance(chunk, Chunk)) == 2 * 2 * RATE
    assert isinstance(completed, Completed)
    assert completed.audio_s == 2
    assert completed.characters == 6
    assert completed.processing_s >= 0


async def test_who_reads_nothing_but_audio_is_sent_nothing_else() -> None:
    made = await synthesizer(ScriptedEngine(second()))
    chunks = await events(made, SynthesisRequest("Hello.", audio_only=True))
    assert chunks == (await events(made, SynthesisRequest("Hello.")))[1:-1]
    assert await events(made, SynthesisRequest("…", audio_only=True)) == []


async def test_what_follows_on_other_speech_has_no_short_first_chunk() -> None:
    made = await synthesizer(ScriptedEngine(second()))
    chunks = await events(made, SynthesisRequest("Hello.", previous_text="Well.", audio_only=True))
    assert [len(chunk.data) for chunk in chunks if isinstance(chunk, Chunk)] == [2 * RATE // 10] * 10


async def test_the_format_asked_for_is_announced_and_honoured() -> None:
    made = await synthesizer(ScriptedEngine(second()))
    started, *chunks, _ = await events(made, SynthesisRequest("Hello.", audio_format=PHONE))
    assert started == Started("ann", PHONE)
    assert sum(len(chunk.data) for chunk in chunks if isinstance(chunk, Chunk)) == 8_000


async def test_the_engine_gets_clean_text_the_rate_and_what_was_said_before() -> None:
    engine = ScriptedEngine()
    made = await synthesizer(engine)
    await events(made, SynthesisRequest(" Hel\u200blo. ", speaking_rate=1.5, previous_text="Well."))
    assert engine.segments == [Segment("Hello.", engine.voices[0], 1.5, "Well.")]


async def test_text_without_a_word_is_completed_without_audio_or_work() -> None:
    engine = ScriptedEngine(second())
    made = await synthesizer(engine)
    started, completed = await events(made, SynthesisRequest("…"))
    assert started == Started("ann", NATIVE)
    assert completed == Completed(0, 0, 1)
    assert engine.segments == []


async def test_letters_that_the_voice_cannot_read_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    engine = ScriptedEngine()
    made = await synthesizer(engine)
    with caplog.at_level(logging.WARNING):
        await events(made, SynthesisRequest("Hello Привет"))
    assert engine.segments[0].text == "Hello"
    assert caplog.messages == ["letters of other scripts are left out"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (SynthesisRequest(" "), "text"),
        (SynthesisRequest("你好"), "text"),
        (SynthesisRequest("Hello", language_code="fr"), "language_code"),
        (SynthesisRequest("Hello", speaking_rate=9), "speaking_rate"),
    ],
)
async def test_a_wrong_request_is_refused_before_anything_is_said(request_: SynthesisRequest, field: str) -> None:
    made = await synthesizer(ScriptedEngine(second()))
    with pytest.raises(InvalidArgumentError) as caught:
        await anext(made.synthesize(request_))
    assert caught.value.field == field


async def test_a_failing_engine_ends_the_stream_and_the_next_request_works() -> None:
    engine = ScriptedEngine(second(), error=RuntimeError("the model broke"))
    made = await synthesizer(engine, running=1, waiting=0)
    with pytest.raises(RuntimeError, match="the model broke"):
        await events(made, SynthesisRequest("Hello."))
    engine._error = None
    assert isinstance((await events(made, SynthesisRequest("Hello.")))[-1], Completed)


async def test_more_requests_than_may_wait_are_refused_and_a_closed_one_makes_room() -> None:
    engine = ScriptedEngine()
    engine.waiting = asyncio.Event()
    made = await synthesizer(engine, running=1, waiting=0)
    first = made.synthesize(SynthesisRequest("One."))
    assert isinstance(await anext(first), Started)
    with pytest.raises(OverloadedError, match="too many syntheses at once"):
        await events(made, SynthesisRequest("Two."))
    await first.aclose()
    engine.waiting.set()
    assert isinstance((await events(made, SynthesisRequest("Three.")))[-1], Completed)


async def test_a_cancelled_request_closes_the_engine_at_once() -> None:
    engine = ScriptedEngine(second())
    engine.waiting = asyncio.Event()
    made = await synthesizer(engine)
    begun = asyncio.Event()

    async def read() -> None:
        async for event in made.synthesize(SynthesisRequest("Hello.")):
            if isinstance(event, Chunk):
                begun.set()

    reader = asyncio.create_task(read())
    await begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert engine.closed


async def test_an_unknown_default_voice_ends_the_start_with_the_nearest_name() -> None:
    with pytest.raises(StartupError, match="scripted has no voice 'anne'; did you mean 'ann'"):
        await synthesizer(ScriptedEngine(), default_voice="anne")


async def test_the_default_voice_of_the_settings_speaks_where_no_other_is_asked_for() -> None:
    made = await synthesizer(ScriptedEngine(), default_voice="bob")
    assert (await events(made, SynthesisRequest("Hallo.")))[0] == Started("bob", NATIVE)


async def test_a_request_is_counted_while_it_is_spoken_and_timed() -> None:
    registry = CollectorRegistry()
    engine = ScriptedEngine(second())
    admission = AdmissionQueue("syntheses", running=1, waiting=0)
    made = Synthesizer(engine, admission, default_voice="", max_characters=100, metrics=TtsMetrics(registry))
    await made.load()
    speaking = made.synthesize(SynthesisRequest("Hello."))
    await anext(speaking)
    assert registry.get_sample_value("parley_tts_active_streams") == 1
    _ = [event async for event in speaking]
    assert registry.get_sample_value("parley_tts_active_streams") == 0
    assert registry.get_sample_value("parley_tts_characters_total") == 6
    assert registry.get_sample_value("parley_tts_audio_seconds_total") == pytest.approx(1.0)
    for name in ("time_to_first_byte_seconds", "time_to_first_audible_sample_seconds", "real_time_factor"):
        assert registry.get_sample_value(f"parley_tts_{name}_count") == 1, name


async def test_what_nobody_hears_is_counted_by_its_reason() -> None:
    registry = CollectorRegistry()
    admission = AdmissionQueue("syntheses", running=1, waiting=0)
    made = Synthesizer(
        ScriptedEngine(second()), admission, default_voice="", max_characters=100, metrics=TtsMetrics(registry)
    )
    await made.load()
    for text in ("🎉 … 😀", "Hello Привет, hello", "Hello."):
        await events(made, SynthesisRequest(text))
    for reason, count in (("no_words", 5), ("letters", 6)):
        assert registry.get_sample_value("parley_tts_characters_left_out_total", {"reason": reason}) == count


async def test_the_span_of_a_request_tells_its_length_and_its_text_only_where_that_is_asked_for() -> None:
    made = await synthesizer(ScriptedEngine(second()))
    for content in (False, True):
        with recorded(content=content) as spans, tracing.begin("served"):
            await events(made, SynthesisRequest("Hello."))
        (served,) = spans
        assert served.attributes["gen_ai.operation.name"] == "text_to_speech"
        assert served.attributes["gen_ai.output.type"] == "speech"
        assert served.attributes["parley.tts.characters"] == 6
        assert served.attributes["parley.tts.audio_s"] == pytest.approx(1.0)
        assert served.attributes.get("parley.tts.text") == ("Hello." if content else None)


async def test_numbers_are_words_in_english_and_the_lexicon_goes_first() -> None:
    engine = ScriptedEngine()
    admission = AdmissionQueue("syntheses", running=1, waiting=0)
    lexicon = Lexicon({"Parley": "par lee", "B2B": "business to business"})
    made = Synthesizer(engine, admission, default_voice="", lexicon=lexicon, max_characters=100)
    await made.load()
    await events(made, SynthesisRequest("Parley has 2 B2B users at 7:30 pm."))
    await events(made, SynthesisRequest("Parley hat 2 Kunden.", language_code="de"))
    english, german = engine.segments
    assert english.text == "par lee has two business to business users at seven thirty P.M."
    assert german.text == "par lee hat 2 Kunden."


async def test_a_script_that_the_voice_cannot_read_goes_to_the_fallback_voice() -> None:
    engine = ScriptedEngine(second())
    admission = AdmissionQueue("syntheses", running=1, waiting=0)
    made = Synthesizer(engine, admission, default_voice="", fallback_voice="bob", max_characters=100)
    await made.load()
    assert (await events(made, SynthesisRequest("Привет, мир")))[0] == Started("bob", NATIVE)
    assert engine.segments[0].text == "Привет, мир"
