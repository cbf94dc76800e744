"""What every TTS engine keeps: one suite over all of them, each with a real program, model or server behind it.

The model of `transformers` has random weights: it babbles, but by the code of the real ones.
"""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pyloudnorm
import pytest
import pytest_asyncio

from services.common.admission import AdmissionQueue
from services.common.audio import Samples, decode
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, VoiceNotFoundError
from services.common.settings import load
from services.tts import engines
from services.tts.domain import Chunk, Completed, Event, Started, SynthesisRequest
from services.tts.loudness import TARGET_LUFS
from services.tts.metrics import AUDIBLE
from services.tts.settings import TtsSettings
from services.tts.synthesizer import Synthesizer
from tests.support.speech_server import SpeechServer, speech_server
from tests.support.speech_studio import speech_studio
from tests.support.tiny_voice import save_tiny_voice
from tests.support.voices import kokoro_installed, piper_installed

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

TEXT = "The weather is fine today. Tomorrow it will rain."
LONGEST_TEXT = 5000
FORMATS = [
    AudioFormat(Encoding.MULAW, 8_000),
    AudioFormat(Encoding.ALAW, 8_000),
    AudioFormat(Encoding.PCM_F32LE, 48_000, 2),
    AudioFormat(Encoding.PCM_S16LE, 16_000),
]


@dataclass
class Loaded:
    """An engine behind the service's own checks, chunks and conversions, with its name in this suite."""

    name: str
    synthesizer: Synthesizer
    server: SpeechServer | None = None
    """That of ours, which tells what it saw."""
    _heard: dict[tuple[str, float], Samples] = field(default_factory=dict)

    @property
    def is_piper(self) -> bool:
        """No two readings of it are the same."""
        return self.name == "piper" or "studio" in self.name

    async def events(self, request: SynthesisRequest) -> list[Event]:
        """All that a request gives."""
        return [event async for event in self.synthesizer.synthesize(request)]

    async def speak(self, text: str, audio_format: AudioFormat | None = None, rate: float = 1.0) -> Samples:
        """The samples of a text."""
        events = await self.events(SynthesisRequest(text, audio_format=audio_format, speaking_rate=rate))
        started = events[0]
        assert isinstance(started, Started)
        data = b"".join(event.data for event in events if isinstance(event, Chunk))
        return decode(data, started.audio_format)

    async def heard(self, text: str, rate: float = 1.0) -> Samples:
        """The same, spoken once for all tests."""
        if (text, rate) not in self._heard:
            self._heard[text, rate] = await self.speak(text, rate=rate)
        return self._heard[text, rate]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        *("hibari", "kokoro", "piper", "espeak-ng", "transformers"),
        *("openai-api wav", "openai-api pcm", "openai-api wav studio", "openai-api pcm studio"),
    ],
)
async def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    name = request.param
    if name == "espeak-ng" and shutil.which(name) is None:
        pytest.skip("espeak-ng is not installed")
    if name == "kokoro" and not kokoro_installed():
        pytest.skip("the voices of kokoro are not installed; run `make install-voices`")
    if (name == "piper" or "studio" in name) and not piper_installed():
        pytest.skip("piper is not installed; run `make install-piper`")
    engine, answer, server_kind = (*name.split(), "", "")[:3]
    flags = ["--tts", engine, "--tts_max_delay_s", "600"]
    async with contextlib.AsyncExitStack() as stack:
        server = None
        if engine == "transformers":
            flags += ["--tts_model_name", str(save_tiny_voice(tmp_path_factory.mktemp("voices") / "babble"))]
        if server_kind == "studio":
            url = await stack.enter_async_context(speech_studio(tmp_path_factory.mktemp("studio")))
        elif engine == "openai-api":
            server = await stack.enter_async_context(speech_server())
            url = server.base_url
        if engine == "openai-api":
            flags += ["--tts_api_base_url", url, "--tts_api_response_format", answer, "--tts_api_timeout_s", "60"]
        settings = load(TtsSettings, "parley-tts", flags)
        synthesizer = Synthesizer(
            engines.build(settings),
            AdmissionQueue("syntheses", running=16, waiting=16),
            default_voice="",
            max_characters=LONGEST_TEXT,
        )
        await synthesizer.load()
        yield Loaded(name, synthesizer, server)
        await synthesizer.aclose()


def largest_step(samples: Samples) -> float:
    """Between two samples that follow each other."""
    return float(np.abs(np.diff(samples)).max())


async def test_audio_comes_in_chunks_of_20_to_100_ms_and_adds_up(loaded: Loaded) -> None:
    started, *chunks, completed = await loaded.events(SynthesisRequest(TEXT))
    assert isinstance(started, Started)
    assert isinstance(completed, Completed)
    at_s = 0.0
    for chunk in chunks:
        assert isinstance(chunk, Chunk)
        assert chunk.offset_s == pytest.approx(at_s)
        seconds = len(chunk.data) / started.audio_format.bytes_per_second
        # The end of what is streamed may be a short rest: what came before it has left at once.
        assert seconds <= 0.1
        assert seconds >= 0.02 or chunk is chunks[-1]
        at_s += seconds
    assert completed.audio_s == pytest.approx(at_s)
    assert completed.audio_s > 1
    assert completed.characters == len(TEXT)


@pytest.mark.parametrize("wanted", FORMATS, ids=str)
async def test_the_format_asked_for_is_what_comes(loaded: Loaded, wanted: AudioFormat) -> None:
    text = "It will rain."
    native = await loaded.heard(text)
    voice = loaded.synthesizer.voices("")[0].native_format
    started, *chunks, _ = await loaded.events(SynthesisRequest(text, audio_format=wanted))
    assert isinstance(started, Started)
    assert started.audio_format == wanted
    data = b"".join(chunk.data for chunk in chunks if isinstance(chunk, Chunk))
    assert b"RIFF" not in data
    seconds = len(data) / wanted.bytes_per_second
    assert seconds == pytest.approx(len(native) / voice.sample_rate_hz, abs=0.15 if loaded.is_piper else 0.01)
    samples = decode(data, wanted)
    loudness = np.sqrt(np.mean(np.square(samples))) / np.sqrt(np.mean(np.square(native)))
    assert 0.5 < loudness < 1.5  # converted, and not noise of bytes read as something else


async def test_the_rate_is_learnt_from_the_engine(loaded: Loaded) -> None:
    rates = {"hibari": 24_000, "kokoro": 24_000, "piper": 22_050, "espeak-ng": 22_050}
    expected = 22_050 if loaded.is_piper else rates.get(loaded.name, 16_000)
    assert {voice.native_format.sample_rate_hz for voice in loaded.synthesizer.voices("")} == {expected}


async def test_no_click_at_the_ends_and_the_borders(loaded: Loaded) -> None:
    """Where sentences and chunks join, no step is larger than those within speech."""
    samples = await loaded.heard(TEXT)
    assert np.abs(samples[[0, -1]]).max() < 0.02
    first = await loaded.heard(TEXT.partition(". ")[0] + ".")
    within = largest_step(first)
    border = round(0.01 * len(samples))
    assert max(largest_step(samples[:border]), largest_step(samples[-border:])) <= within
    assert largest_step(samples) <= 1.5 * max(within, largest_step(await loaded.heard(TEXT.partition(". ")[2])))


@pytest.mark.parametrize("rate", [0.5, 2.0])
async def test_the_speaking_rate_is_kept(loaded: Loaded, rate: float) -> None:
    normal, other = await loaded.heard(TEXT), await loaded.speak(TEXT, rate=rate)
    # Babble has a length that is rounded for each letter.
    assert len(other) == pytest.approx(len(normal) / rate, rel=0.35 if loaded.name == "transformers" else 0.15)


async def test_speech_begins_at_once_and_is_as_loud_as_everybodys(loaded: Loaded) -> None:
    samples = await loaded.heard(TEXT)
    rate_hz = loaded.synthesizer.voices("")[0].native_format.sample_rate_hz
    first = int(np.argmax(np.abs(samples) > AUDIBLE))
    assert first < 0.12 * rate_hz
    if loaded.name != "transformers":  # random weights hardly make a sound that one hears
        level = pyloudnorm.Meter(rate_hz).integrated_loudness(samples)
        # The studio brings each answer to full scale, and piper behind it speaks by chance: -18.1 to -15.8 were seen.
        assert level == pytest.approx(TARGET_LUFS, abs=6 if "studio" in loaded.name else 2)


async def test_cancelling_leaves_the_engine_ready(loaded: Loaded) -> None:
    if loaded.server:
        loaded.server.broken_off.clear()
    heard = asyncio.Event()

    async def listen() -> None:
        async with contextlib.aclosing(loaded.synthesizer.synthesize(SynthesisRequest(f"{TEXT} " * 20))) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    heard.set()
                    await asyncio.Event().wait()

    listener = asyncio.create_task(listen())
    listener.add_done_callback(lambda _: heard.set())  # whoever fails before it is heard says why
    await heard.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    if loaded.server:
        async with asyncio.timeout(30):
            await loaded.server.broken_off.wait()  # the server was told, too
    assert len(await loaded.speak("Goodbye.")) > 0


async def test_several_speakers_at_once_each_get_their_own_words(loaded: Loaded) -> None:
    texts = ("Yes.", TEXT, "Good morning to you all.")
    alone = [await loaded.speak(text) for text in texts]
    together = await asyncio.gather(*(loaded.speak(text) for text in texts))
    for one, other in zip(alone, together, strict=True):
        if loaded.is_piper:
            assert len(one) == pytest.approx(len(other), rel=0.25)
            continue
        np.testing.assert_array_equal(one, other)


async def test_an_unknown_voice_is_named(loaded: Loaded) -> None:
    with pytest.raises(VoiceNotFoundError, match="nobody") as refused:
        await loaded.events(SynthesisRequest("Hello.", voice="nobody"))
    assert refused.value.field == "voice"


async def test_text_with_only_emoji_is_silence_that_says_so(loaded: Loaded) -> None:
    started, completed = await loaded.events(SynthesisRequest("🎉 … 😀"))
    assert isinstance(started, Started)
    assert isinstance(completed, Completed)
    assert completed.audio_s == 0


async def test_a_number_is_spoken(loaded: Loaded) -> None:
    assert len(await loaded.speak("42")) > 0


async def test_a_script_without_sounds_is_refused_and_not_silent(loaded: Loaded) -> None:
    """espeak-ng and a hosted model read it."""
    if loaded.name in ("hibari", "kokoro", "piper", "transformers"):
        with pytest.raises(InvalidArgumentError, match="script") as refused:
            await loaded.speak("你好，世界")
        assert refused.value.field == "text"


async def test_voices_are_listed_with_their_languages(loaded: Loaded) -> None:
    voices = loaded.synthesizer.voices("")
    assert voices
    assert len({voice.name for voice in voices}) == len(voices)
    assert {voice.engine for voice in voices} == {loaded.name.partition(" ")[0]}
    assert all(voice.speaks("en") for voice in voices) or loaded.name == "espeak-ng"
    assert all("/" not in voice.name for voice in voices)


async def test_the_longest_text_begins_at_once_and_is_spoken_to_its_end(loaded: Loaded) -> None:
    text = (f"{TEXT} " * (LONGEST_TEXT // len(TEXT)))[: LONGEST_TEXT - 1].rstrip()
    one = await loaded.heard(TEXT)
    if loaded.name in ("espeak-ng", "transformers"):  # fast enough to hear it all
        assert len(await loaded.speak(text)) > 0.8 * len(one) * len(text) / len(TEXT)
        return
    async with contextlib.aclosing(loaded.synthesizer.synthesize(SynthesisRequest(text))) as events:
        async for event in events:
            if isinstance(event, Chunk) and event.offset_s > 10:
                break


async def test_connections_are_kept(loaded: Loaded) -> None:
    if loaded.server is None:
        pytest.skip("there is no connection")
    loaded.server.connections.clear()
    for _ in range(3):
        await loaded.speak("Yes.")
    assert len(loaded.server.connections) == 1
