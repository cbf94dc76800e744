"""What the decoder asks of a model, and what it makes of the answers. The model is a double."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.stt.domain import Recognition, RecognitionRequest
from services.stt.engines import whisper_decoding
from services.stt.engines.whisper_decoding import WhisperDecoder

EOT, SOT_PREV, SOT, NO_TIMESTAMPS = 1000, 1001, 1002, 1003
ENGLISH = RecognitionRequest("en")
REPEATED = "and so on " * 30


class DoubleTokenizer:
    """Each character is a token; an angle bracket is a control token."""

    eot, sot_prev, no_timestamps = EOT, SOT_PREV, NO_TIMESTAMPS

    def __init__(self, _tokenizer: object, _multilingual: bool, task: str, language: str) -> None:
        self.language_code = language
        self.sot_sequence = [SOT]

    def encode(self, text: str) -> list[int]:
        return [EOT if character == "<" else ord(character) for character in text]

    def decode(self, tokens: list[int]) -> str:
        return "".join(map(chr, tokens))


@dataclass
class DoubleModel:
    """Answers with (text, mean log probability, no-speech probability), in order."""

    answers: list[tuple[str, float, float]]
    windows: list[int] = field(default_factory=list)
    generated: list[dict[str, Any]] = field(default_factory=list)
    supported_languages: tuple[str, ...] = ("en", "de")
    hf_tokenizer: object = None
    is_multilingual: bool = True

    @property
    def model(self) -> "DoubleModel":
        return self

    def feature_extractor(self, samples: Any) -> Any:
        return np.zeros((80, len(samples) // 160 + 1), np.float32)

    def encode(self, features: Any) -> str:
        self.windows.append(np.array(features).shape[-1])
        return "encoded"

    def detect_language(self, _encoded: str) -> list[list[tuple[str, float]]]:
        return [[("<|de|>", 0.9), ("<|en|>", 0.1)]]

    def generate(self, _encoded: str, prompts: list[list[int]], **options: Any) -> list[Any]:
        self.generated.append({"prompt": prompts[0], **options})
        text, log_probability, no_speech = self.answers.pop(0)
        tokens = [*map(ord, text), EOT]
        return [SimpleNamespace(sequences_ids=[tokens], scores=[log_probability], no_speech_prob=no_speech)]


@pytest.fixture(autouse=True)
def _double_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper_decoding, "Tokenizer", DoubleTokenizer)


def recognize(
    model: DoubleModel,
    seconds: float = 3.0,
    request: RecognitionRequest = ENGLISH,
    *,
    quick: bool = False,
) -> Recognition:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return WhisperDecoder(model).recognize(samples, request, quick=quick, check=lambda: None)


@pytest.mark.parametrize(
    ("seconds", "window"), [(0.001, 1000), (3, 1000), (8.5, 1500), (14, 2000), (20, 3000), (30, 3000)]
)
def test_the_window_is_as_short_as_the_audio_allows_but_never_below_ten_seconds(seconds: float, window: int) -> None:
    model = DoubleModel([(" Hello.", -0.1, 0.0)])
    recognize(model, seconds)
    assert model.windows == [window]


def test_a_text_comes_with_its_confidence_and_language() -> None:
    recognition = recognize(DoubleModel([(" Hello.", -0.5, 0.0)]))
    assert (recognition.text, recognition.language) == ("Hello.", "en")
    assert recognition.confidence == pytest.approx(0.6065, abs=0.001)


def test_a_text_that_repeats_itself_is_decoded_again_with_a_beam() -> None:
    model = DoubleModel([(REPEATED, -0.1, 0.0), (" And so on.", -0.1, 0.0)])
    assert recognize(model).text == "And so on."
    assert [options["beam_size"] for options in model.generated] == [1, 5]
    assert model.windows == [1000, 3000]


def test_a_sentence_said_twice_at_once_is_looked_at_again_in_a_whole_window() -> None:
    once, twice = " He went home.", " I saw him. He went home. He went home."
    model = DoubleModel([(twice, -0.1, 0.0), (once, -0.1, 0.0)])
    assert recognize(model).text == once.strip()
    assert model.windows == [1000, 3000]
    really_said = DoubleModel([(twice, -0.1, 0.0), (twice, -0.1, 0.0)])
    assert recognize(really_said).text == twice.strip()


def test_quick_recognition_does_not_try_twice() -> None:
    model = DoubleModel([(REPEATED, -0.1, 0.9)])
    assert recognize(model, quick=True).text == ""
    assert len(model.generated) == 1


def test_words_for_noise_are_dropped() -> None:
    assert recognize(DoubleModel([(" Thank you.", -1.5, 0.8)])).text == ""


def test_the_room_for_text_is_enough_for_the_fastest_speaker() -> None:
    model = DoubleModel([(" Hello.", -0.1, 0.0)])
    recognize(model, 10)
    options = model.generated[0]
    room = min(options["max_length"] // 2, options["max_length"] - len(options["prompt"]))  # as CTranslate2 counts
    assert room >= 10 * 12  # twelve tokens a second
    assert room <= 224


def test_hints_become_a_prompt_without_control_tokens_and_of_bounded_length() -> None:
    model = DoubleModel([(" Hello.", -0.1, 0.0)] * 2)
    recognize(model, request=RecognitionRequest("en", hints=("Elinor", "<<Dashwood")))
    prompt = model.generated[0]["prompt"]
    assert prompt == [SOT_PREV, *map(ord, " Elinor, Dashwood."), SOT, NO_TIMESTAMPS]
    recognize(model, request=RecognitionRequest("en", hints=("x" * 5_000,)))
    assert len(model.generated[1]["prompt"]) <= 110


def test_the_language_is_detected_only_where_it_is_not_given() -> None:
    model = DoubleModel([(" Hallo.", -0.1, 0.0)] * 2)
    assert recognize(model, request=RecognitionRequest(None)).language == "de"
    assert recognize(model, request=RecognitionRequest("en")).language == "en"
    only_english = DoubleModel([(" Hello.", -0.1, 0.0)], supported_languages=("en",), is_multilingual=False)
    assert recognize(only_english, request=RecognitionRequest(None)).language == "en"


def test_what_check_raises_ends_the_work_before_anything_is_generated() -> None:
    model = DoubleModel([])

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WhisperDecoder(model).recognize(np.zeros(16_000, np.float32), RecognitionRequest("en"), quick=False, check=stop)
    assert model.generated == []
