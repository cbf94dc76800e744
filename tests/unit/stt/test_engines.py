"""The registry, the fake engine, and where weights are found."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import StartupError
from services.common.settings import SettingsError, load
from services.stt import engines, weights
from services.stt.domain import RecognitionRequest
from services.stt.engines.fake import FakeEngine
from services.stt.settings import SttSettings
from services.stt.vad import EnergyDetector

ROOT = Path(__file__).resolve().parents[3]
SECOND = np.zeros(16_000, np.float32)


def settings(*argv: str) -> SttSettings:
    return load(SttSettings, "parley-stt", argv)


async def test_the_fake_says_that_it_is_fake() -> None:
    engine = engines.create(settings("--stt", "fake"))
    recognition = await engine.recognize(SECOND, RecognitionRequest("en"))
    assert "fake" in recognition.text
    assert engine.info.engine == "fake"


async def test_the_fake_says_what_it_is_told_to_and_times_its_words_on_request() -> None:
    engine = engines.create(settings("--stt", "fake", "--fake_transcript", "one two"))
    recognition = await engine.recognize(SECOND, RecognitionRequest("en", word_timings=True))
    assert recognition.text == "one two"
    assert [(word.text, word.start_s, word.end_s) for word in recognition.words] == [
        ("one", 0.0, 0.5),
        ("two", 0.5, 1.0),
    ]


async def test_the_fakes_interim_transcripts_grow_with_the_audio() -> None:
    engine = FakeEngine("one two three four five six", 0.0)
    heard = [
        (await engine.recognize(np.tile(SECOND, seconds), RecognitionRequest("en"), interim=True)).text
        for seconds in (1, 2, 9)
    ]
    assert heard == ["one two", "one two three four five", "one two three four five six"]


def test_an_empty_fake_transcript_is_possible() -> None:
    assert FakeEngine("", 0.0).info.name == "fake"


@pytest.mark.parametrize("module", ["ctranslate2", "onnxruntime", "faster_whisper"])
def test_the_fake_service_imports_no_model_library(module: str) -> None:
    script = (
        "import sys; from services.stt.service import SttService; from services.stt.settings import SttSettings;"
        f"SttService(SttSettings(stt='fake')); sys.exit({module!r} in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT, env={"PYTHONPATH": ".:protos"})
    assert run.returncode == 0


def test_energy_tells_loud_from_silent_frames() -> None:
    frames = np.stack([np.zeros(512), np.full(512, 0.001), np.full(512, 0.2)]).astype(np.float32)
    quiet, low, loud = EnergyDetector().probabilities(frames)
    assert (quiet, loud) == (0.0, 1.0)
    assert low < 0.35


def test_a_folder_is_known_to_clients_by_its_name_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secret" / "my-whisper"
    folder.mkdir(parents=True)
    assert weights.locate(str(folder), tmp_path) == weights.Location("my-whisper", str(folder))


def test_a_damaged_package_is_told_and_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "package" / "data"
    data.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin.part1", "model.bin.part2"):
        (data / name).write_text("damaged")
    monkeypatch.setattr(weights, "package_dir", lambda _: data.parent)
    cache = tmp_path / "cache"
    with pytest.raises(StartupError, match="damaged"):
        weights.locate("package:whisper-base", cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize("name", ["small.en", "Systran/faster-whisper-small"])
def test_other_names_are_the_hubs(name: str, tmp_path: Path) -> None:
    assert weights.locate(name, tmp_path) == weights.Location(name, name)


@pytest.mark.parametrize(
    ("name", "message"), [("package:whisper-huge", "known are package:whisper-base"), ("/no/such", "/no/such")]
)
def test_a_model_that_is_not_there_is_told_at_start(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=message):
        weights.locate(name, tmp_path)


@pytest.mark.parametrize(
    "argv",
    [("--stt", "whisper"), ("--endpoint_silence_s", "99"), ("--stt_max_streams", "0"), ("--stt_compute_type", "int3")],
)
def test_wrong_flags_are_refused_by_name(argv: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match=argv[0]):
        settings(*argv)


def test_the_flags_are_the_defaults_of_endpointing() -> None:
    endpointing = settings("--endpoint_silence_s", "0.7", "--endpoint_max_utterance_s", "10").endpointing
    assert (endpointing.end_silence_s, endpointing.max_utterance_s) == (0.7, 10.0)
    assert (endpointing.min_end_silence_s, endpointing.max_end_silence_s) == (0.3, 1.2)
    quick = settings("--endpoint_silence_s", "0.2").endpointing
    assert (quick.min_end_silence_s, quick.max_end_silence_s) == (0.2, 1.2)


@pytest.mark.parametrize(
    ("argv", "soft_silence_s"),
    [((), 0.032), (("--stt", "openai-api"), 0.096), (("--stt", "openai-api", "--endpoint_soft_silence_s", "0"), 0.0)],
)
def test_a_transcript_ahead_is_begun_at_the_first_silence_unless_it_is_a_request_that_is_paid(
    argv: tuple[str, ...], soft_silence_s: float
) -> None:
    assert settings(*argv).endpointing.soft_silence_s == soft_silence_s
