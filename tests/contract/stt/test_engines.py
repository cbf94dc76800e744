"""What every STT engine keeps, on recorded speech: one suite over all of them, each with a real model behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio

from services.common.settings import load
from services.stt import engines
from services.stt.domain import RecognitionRequest
from services.stt.engines.base import Engine
from services.stt.settings import SttSettings
from tests.support.recordings import errors as word_errors
from tests.support.recordings import recorded
from tests.support.transcription_server import transcription_server

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

ENGINES = {
    "faster-whisper base": ("--stt_interim_model_name", ""),
    "faster-whisper tiny.en": ("--stt_model_name", "package:whisper-tiny.en"),
    "transformers Whisper base": ("--stt", "transformers"),
    "openai-api": ("--stt", "openai-api", "--stt_model_name", "whisper-1", "--stt_api_timeout_s", "60"),
}


@dataclass
class Loaded:
    """An engine with its name in this suite."""

    name: str
    engine: Engine


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    name = request.param
    async with contextlib.AsyncExitStack() as stack:
        flags = [*ENGINES[name]]
        if name == "openai-api":
            server = transcription_server(tmp_path_factory.mktemp("server"))
            flags += ["--stt_api_base_url", await stack.enter_async_context(server)]
        engine = engines.create(load(SttSettings, "parley-stt", flags))
        await engine.load()
        yield Loaded(name, engine)
        await engine.aclose()


def errors(text: str) -> float:
    return word_errors(text, "0930")


async def test_recorded_speech_is_understood(loaded: Loaded) -> None:
    heard = await loaded.engine.recognize(recorded("0930"), RecognitionRequest("en"))
    assert errors(heard.text) <= 0.13
    assert heard.language == "en"
    assert heard.processing_s > 0
    assert heard.confidence is None or 0.3 < heard.confidence <= 1


async def test_the_language_is_detected_where_it_is_not_told(loaded: Loaded) -> None:
    heard = await loaded.engine.recognize(recorded("0930"), RecognitionRequest(None))
    assert heard.language == "en"
    assert errors(heard.text) <= 0.13


async def test_hints_are_taken_and_not_repeated(loaded: Loaded) -> None:
    heard = await loaded.engine.recognize(recorded("0930"), RecognitionRequest("en", hints=("Dashwood",)))
    assert "Dashwood" not in heard.text
    assert errors(heard.text) <= 0.13


async def test_the_longest_utterance_is_understood_with_hints(loaded: Loaded) -> None:
    names = ("0870", "0880", "0890", "0930", "0870", "0880")
    samples = np.concatenate([recorded(name) for name in names])[: 30 * 16_000]
    assert len(samples) > 25 * 16_000  # --endpoint_max_utterance_s
    request = RecognitionRequest("en", hints=("Dashwood", "Elinor", "Marianne", "Norland") * 10)
    heard = await loaded.engine.recognize(samples, request)
    assert word_errors(heard.text, *names) <= 0.13


async def test_words_are_timed_where_the_engine_says_that_it_can(loaded: Loaded) -> None:
    samples = recorded("0930")
    heard = await loaded.engine.recognize(samples, RecognitionRequest("en", word_timings=True))
    if loaded.name.startswith("faster-whisper"):
        assert loaded.engine.info.supports_word_timings
    if not loaded.engine.info.supports_word_timings:
        assert heard.words == ()
        return
    starts = [word.start_s for word in heard.words]
    assert starts == sorted(starts)
    assert all(0 <= word.start_s <= word.end_s <= len(samples) / 16_000 + 0.1 for word in heard.words)


async def test_an_interim_recognition_is_text_too(loaded: Loaded) -> None:
    heard = await loaded.engine.recognize(recorded("0930"), RecognitionRequest("en"), interim=True)
    assert errors(heard.text) <= 0.3


async def test_several_speakers_at_once_each_get_their_own_words(loaded: Loaded) -> None:
    names = ("0930", "0880")
    heard = await asyncio.gather(*(loaded.engine.recognize(recorded(name), RecognitionRequest("en")) for name in names))
    assert [("amiable" in recognition.text) for recognition in heard] == [True, False]


async def test_a_recognition_that_nobody_waits_for_leaves_the_engine_ready(loaded: Loaded) -> None:
    task = asyncio.create_task(loaded.engine.recognize(recorded("0930"), RecognitionRequest("en")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    heard = await loaded.engine.recognize(recorded("0930"), RecognitionRequest("en"))
    assert errors(heard.text) <= 0.13


async def test_a_few_samples_are_no_error(loaded: Loaded) -> None:
    await loaded.engine.recognize(np.zeros(100, np.float32), RecognitionRequest("en"))


async def test_what_it_can_do_is_declared(loaded: Loaded) -> None:
    info = loaded.engine.info
    assert info.engine in loaded.name
    assert "en" in info.languages
    assert "/" not in info.name
    assert isinstance(loaded.engine.new_detector().probabilities(np.zeros((1, 512), np.float32))[0], float)
