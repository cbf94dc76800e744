"""hibari, the embedded voice: real model, real transcripts of what it says."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from faster_whisper import WhisperModel
from parley.common.v1 import audio_pb2
from parley.tts.v1 import tts_service_pb2 as pb

from services.common.audio import Samples, resample
from services.common.errors import InvalidArgumentError
from services.common.settings import load
from services.stt.weights import locate
from services.tts.domain import Segment
from services.tts.engines.hibari import HibariEngine
from services.tts.settings import TtsSettings
from services.tts.text import readable_by
from tests.support.servers import running, server
from tests.support.synthesis import synthesize

pytestmark = pytest.mark.models

RATE_HZ, WHISPER_HZ = 24_000, 16_000
SENTENCES = (
    "The weather in Paris is sunny today, and tomorrow it will rain.",
    "Please open the second door on the left, then walk straight ahead.",
    "I would like to book a table for two people this evening.",
)


@pytest.fixture(scope="module")
def engine() -> Iterator[HibariEngine]:
    made = HibariEngine(load(TtsSettings, "parley-tts", []))
    asyncio.run(made.load())
    yield made
    asyncio.run(made.aclose())


@pytest.fixture(scope="module")
def whisper() -> WhisperModel:
    source = locate("package:whisper-base", Path.home() / ".cache" / "parley").source
    return WhisperModel(source, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)


async def blocks(engine: HibariEngine, text: str, rate: float = 1.0) -> list[Samples]:
    return [block async for block in engine.synthesize(Segment(text, engine.voices[0], rate))]


async def spoken(engine: HibariEngine, text: str, rate: float = 1.0) -> Samples:
    return np.concatenate(await blocks(engine, text, rate))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+|\d+", text.lower())


def heard(whisper: WhisperModel, samples: Samples, rate_hz: int = RATE_HZ) -> list[str]:
    segments, _ = whisper.transcribe(resample(samples, rate_hz, WHISPER_HZ), language="en", beam_size=1)
    return words(" ".join(segment.text for segment in segments))


def loud_span(samples: Samples) -> tuple[float, float]:
    """Seconds of silence before and after the sound."""
    loud = np.flatnonzero(np.abs(samples) > 0.002)
    return float(loud[0]) / RATE_HZ, (len(samples) - 1 - float(loud[-1])) / RATE_HZ


class Counted:
    """The model, with a count of what it was given."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.pieces: list[str] = []

    def __call__(self, piece: str, **options: Any) -> Any:
        self.pieces.append(piece)
        return self._model(piece, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.fixture
def counted(engine: HibariEngine, monkeypatch: pytest.MonkeyPatch) -> Counted:
    model = Counted(engine._models["heart"])
    monkeypatch.setitem(engine._models, "heart", model)
    return model


async def test_every_word_is_understood(engine: HibariEngine, whisper: WhisperModel) -> None:
    text = " ".join(SENTENCES)
    assert heard(whisper, await spoken(engine, text)) == words(text)


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.3, 2.0])
async def test_every_word_is_understood_at_other_rates(
    engine: HibariEngine, whisper: WhisperModel, rate: float
) -> None:
    assert heard(whisper, await spoken(engine, SENTENCES[1], rate)) == words(SENTENCES[1])


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.3, 2.0, 4.0])
async def test_the_rate_is_what_was_asked_for(engine: HibariEngine, rate: float) -> None:
    normal, other = await spoken(engine, SENTENCES[0]), await spoken(engine, SENTENCES[0], rate)
    assert len(other) == pytest.approx(len(normal) / rate, rel=0.1)


async def test_the_same_text_is_the_same_sound_wherever_it_stands(engine: HibariEngine) -> None:
    alone = await spoken(engine, SENTENCES[1])
    np.testing.assert_array_equal(await spoken(engine, SENTENCES[1]), alone)
    _, second = await blocks(engine, f"{SENTENCES[0]} {SENTENCES[1]}")
    np.testing.assert_array_equal(second, alone)


async def test_speech_starts_at_once_and_sentences_are_a_breath_apart(engine: HibariEngine) -> None:
    for block in await blocks(engine, " ".join(SENTENCES)):
        before, after = loud_span(block)
        assert before <= 0.08
        assert 0.1 <= after <= 0.4
        assert np.abs(block[[0, -1]]).max() < 0.001


async def test_the_first_sentence_is_out_before_the_second_is_begun(engine: HibariEngine, counted: Counted) -> None:
    async with contextlib.aclosing(engine.synthesize(Segment(" ".join(SENTENCES), engine.voices[0]))) as sentences:
        await anext(sentences)
        assert counted.pieces == [SENTENCES[0]]
    assert counted.pieces == [SENTENCES[0]]


async def test_cancelling_ends_the_work_within_a_sentence(engine: HibariEngine, counted: Counted) -> None:
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in engine.synthesize(Segment("One sentence after another. " * 100, engine.voices[0])):
            begun.set()

    listener = asyncio.create_task(listen())
    await begun.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    said = len(counted.pieces)
    assert said <= 2
    await spoken(engine, "Goodbye.")
    assert len(counted.pieces) <= said + 2
    assert counted.pieces[-1] == "Goodbye."


async def test_a_short_answer_does_not_wait_for_a_long_one(engine: HibariEngine, counted: Counted) -> None:
    long = asyncio.create_task(blocks(engine, "This is one of very many sentences. " * 20))
    while not counted.pieces:
        await asyncio.sleep(0)
    await blocks(engine, "Short.")
    assert not long.done()
    assert counted.pieces.index("Short.") <= 3
    assert len(await long) == 20


async def test_all_answers_begin_before_any_goes_on(engine: HibariEngine, counted: Counted) -> None:
    async def speak(text: str, previous_text: str) -> None:
        async for _ in engine.synthesize(Segment(text, engine.voices[0], previous_text=previous_text)):
            pass

    texts = [("Busy.", ""), ("More one.", "One."), ("More two.", "Two."), ("Three.", ""), ("Four.", "")]
    await asyncio.gather(*(speak(text, previous) for text, previous in texts))
    assert counted.pieces[-2:] == ["More one.", "More two."]


async def test_text_without_an_end_comes_in_pieces(engine: HibariEngine, whisper: WhisperModel) -> None:
    text = (
        "and then we walked along the river and talked about the old house on the hill where my mother lived when she "
        "was a child and where she had a small white dog that slept in front of the fire all winter until one day "
        "it ran into the garden"
    )
    parts = await blocks(engine, text)
    assert len(parts) == 2
    assert heard(whisper, parts[0]) + heard(whisper, parts[1]) == words(text)


@pytest.mark.parametrize("text", ["42", "a", "π", "½", "№ 5", "Übergröße", "C++ & 50 %", "http://a.b/c?d=e"])
async def test_short_and_odd_text_is_spoken(engine: HibariEngine, text: str) -> None:
    assert len(await spoken(engine, text)) > 0.1 * RATE_HZ


@pytest.mark.parametrize(
    "text",
    [
        "9" * 300,
        "1," * 200,
        "$" + "9" * 50,
        "a" * 500,
        "[hello](/həlˈO/) there",
        "… ... ?! word — 😀",
        "1" + ",000" * 15,
        "-x --version",
        "x\n\n\ny",
        "III" * 100,
    ],
)
async def test_text_that_breaks_reading_rules_is_spoken_all_the_same(engine: HibariEngine, text: str) -> None:
    assert sum(map(len, await blocks(engine, text))) > 0


async def test_other_scripts_are_refused_by_the_voice(engine: HibariEngine) -> None:
    with pytest.raises(InvalidArgumentError, match="'heart' speaks en-US and cannot read this script"):
        readable_by("Привет, как дела?", engine.voices[0])


async def test_only_voices_that_are_there_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hibari.voices import ASSETS, VOICES

    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    monkeypatch.setattr("hibari.voices.download", lambda *_: pytest.fail("nothing may be downloaded"))
    bundled = HibariEngine(load(TtsSettings, "parley-tts", []))
    await bundled.load()
    assert [(voice.name, voice.language_codes) for voice in bundled.voices] == [("heart", ("en-US",))]
    await bundled.aclose()

    await asyncio.to_thread(shutil.copy, f"{ASSETS}/hibari.onnx", tmp_path / VOICES["emma"]["file"])
    cached = HibariEngine(load(TtsSettings, "parley-tts", []))
    await cached.load()
    assert [(voice.name, voice.language_codes) for voice in cached.voices] == [
        ("heart", ("en-US",)),
        ("emma", ("en-GB",)),
    ]
    assert len([block async for block in cached.synthesize(Segment("Hello.", cached.voices[1]))]) == 1
    await cached.aclose()


async def test_over_the_telephone_every_word_is_understood(whisper: WhisperModel) -> None:
    phone = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8_000, channel_count=1)
    text = " ".join(SENTENCES)
    async with server("tts") as address:
        result = await synthesize(address, pb.SynthesizeRequest(text=text, audio_format=phone))
    result.check_contract()
    assert result.started.audio_format == phone
    assert result.durations_ms[0] == 40
    assert all(20 <= duration <= 100 for duration in result.durations_ms)
    assert heard(whisper, result.samples, 8_000) == words(text)


async def test_memory_stays_within_its_bound_under_load() -> None:
    async with running("tts") as started:
        request = pb.SynthesizeRequest(text=" ".join(SENTENCES) + " and so on" * 40)
        for result in await asyncio.gather(*(synthesize(started.address, request) for _ in range(4))):
            result.check_contract()
        assert psutil.Process(started.pid).memory_info().rss <= 450e6
