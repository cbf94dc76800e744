"""The engine around the decoder: which model does what, in which order, and how work is stopped. No model is loaded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.audio import Samples
from services.common.errors import StartupError
from services.common.settings import load
from services.stt import weights
from services.stt.domain import Recognition, RecognitionRequest
from services.stt.engines import base, faster_whisper
from services.stt.engines.faster_whisper import FasterWhisperEngine
from services.stt.settings import SttSettings

ENGLISH = RecognitionRequest("en")


@dataclass
class ScriptedDecoder:
    """Stands for a model: notes what it gets, and waits at each of its steps until the test lets it go on."""

    name: str
    languages: tuple[str, ...]
    got: list[tuple[int, bool]] = field(default_factory=list)
    stopped: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def recognize(
        self, samples: Samples, request: RecognitionRequest, *, quick: bool, check: Callable[[], None]
    ) -> Recognition:
        self.got.append((len(samples) // 16_000, quick))
        self.begun.set()
        assert self.go_on.wait(10)
        try:
            check()
        except Exception:
            self.stopped += 1
            raise
        return Recognition(self.name, request.language or "de")


def seconds(count: int) -> Samples:
    return np.zeros(count * 16_000, np.float32)


def scripted(monkeypatch: pytest.MonkeyPatch, *argv: str) -> tuple[FasterWhisperEngine, dict[str, ScriptedDecoder]]:
    decoders = {
        "careful": ScriptedDecoder("careful", ("en", "de")),
        "quick": ScriptedDecoder("quick", ("en",)),
    }
    monkeypatch.setattr(weights, "locate", lambda name, _: weights.Location(name, name))
    monkeypatch.setattr(faster_whisper, "_load", lambda location, *_: decoders[location.label])
    monkeypatch.setattr(base, "SileroModel", lambda: None)
    settings = load(SttSettings, "parley-stt", ["--stt_model_name", "careful", "--stt_workers", "1", *argv])
    return FasterWhisperEngine(settings), decoders


@pytest.fixture
async def loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[FasterWhisperEngine, dict[str, ScriptedDecoder]]]:
    engine, decoders = scripted(monkeypatch, "--stt_interim_model_name", "quick")
    await engine.load()
    yield engine, decoders
    for decoder in decoders.values():
        decoder.go_on.set()
    await engine.aclose()


Loaded = tuple[FasterWhisperEngine, dict[str, ScriptedDecoder]]


@pytest.mark.parametrize(
    ("language", "interim", "model"),
    [("en", False, "careful"), ("en", True, "quick"), ("de", True, "careful"), (None, True, "careful")],
)
async def test_the_quick_model_does_interim_work_in_the_languages_that_it_knows(
    loaded: Loaded, language: str | None, interim: bool, model: str
) -> None:
    engine, decoders = loaded
    decoders[model].go_on.set()
    recognition = await engine.recognize(seconds(1), RecognitionRequest(language), interim=interim)
    assert recognition.text == model
    assert recognition.processing_s > 0
    assert engine.info.name == "careful"


async def test_without_a_quick_model_one_does_both_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, decoders = scripted(monkeypatch, "--stt_interim_model_name", "")
    await engine.load()
    decoders["careful"].go_on.set()
    assert (await engine.recognize(seconds(1), ENGLISH, interim=True)).text == "careful"
    await engine.aclose()


async def test_work_that_nobody_waits_for_is_dropped_or_ends_at_its_next_step(loaded: Loaded) -> None:
    engine, decoders = loaded
    careful = decoders["careful"]
    running, waiting = (asyncio.create_task(engine.recognize(seconds(length), ENGLISH)) for length in (1, 2))
    await asyncio.to_thread(careful.begun.wait, 10)
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    careful.go_on.set()
    await engine.recognize(seconds(3), ENGLISH)
    assert careful.got == [(1, False), (3, False)]
    assert careful.stopped == 1


async def test_a_failing_recognition_fails_alone(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, decoders = loaded
    careful = decoders["careful"]
    careful.go_on.set()

    def fail(*_: Any, **__: Any) -> Recognition:
        raise ValueError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(careful, "recognize", fail)
        with pytest.raises(ValueError, match="broken"):
            await engine.recognize(seconds(1), ENGLISH)
    assert (await engine.recognize(seconds(1), ENGLISH)).text == "careful"


async def test_a_missing_package_is_told_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine, _ = scripted(monkeypatch)

    def missing(*_: Any) -> None:
        raise ImportError("No module named 'ctranslate2'", name="ctranslate2")

    monkeypatch.setattr(faster_whisper, "_load", missing)
    with pytest.raises(StartupError, match="stt-faster-whisper: ctranslate2"):
        await engine.load()
    await engine.aclose()
