"""What a recognizer understands of the embedded voice: some of the sentences of `benchmarks/round_trip.py`."""

from pathlib import Path

import pytest
from faster_whisper import WhisperModel

from benchmarks.round_trip import SENTENCES, as_words, measure
from services.stt.weights import locate

pytestmark = pytest.mark.models
TRICKY = [SENTENCES[at] for at in (0, 1, 2, 3, 10, 13, 18, 19)]


@pytest.fixture(scope="module")
def whisper() -> WhisperModel:
    source = locate("package:whisper-base", Path.home() / ".cache" / "parley").source
    return WhisperModel(source, device="cpu", compute_type="int8", cpu_threads=2, local_files_only=True)


def test_numbers_names_times_and_abbreviations_are_understood(whisper: WhisperModel) -> None:
    result = measure(whisper, "hibari", TRICKY)
    assert result["words"] > 70
    assert result["word_error_rate"] <= 0.05, result["wrong"]


def test_what_is_compared_is_words() -> None:
    assert as_words("It's $5 at 7.30 p.m.!") == as_words("it's five dollars at seven thirty PM")
    assert as_words("W. W. W. dot") == "www dot"
    assert as_words("five dollars") != as_words("nine dollars")
