"""Who speaks what the voice asked for cannot read."""

import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError
from services.tts.domain import Voice
from services.tts.fallback import Fallback
from services.tts.text import foreign_script

NATIVE = AudioFormat(Encoding.PCM_S16LE, 16_000)
HEART = Voice("heart", "hibari", ("en-US",), NATIVE, frozenset({"LATIN"}))
RUSSIAN = Voice("ru", "espeak-ng", ("ru",), NATIVE)
UKRAINIAN = Voice("uk", "espeak-ng", ("uk",), NATIVE)
CHINESE = Voice("cmn", "espeak-ng", ("cmn", "zh"), NATIVE)
GREEK_ONLY = Voice("elli", "hibari", ("el",), NATIVE, frozenset({"LATIN", "GREEK"}))
VOICES = (HEART, GREEK_ONLY, UKRAINIAN, RUSSIAN, CHINESE)


@pytest.mark.parametrize(
    ("reference", "text", "language", "speaker"),
    [
        ("espeak-ng", "Привет, как дела?", "", RUSSIAN),
        ("espeak-ng", "Привет, як справи?", "uk", UKRAINIAN),
        ("espeak-ng", "你好，世界", "", CHINESE),
        ("espeak-ng/uk", "Привет", "", UKRAINIAN),
        ("elli", "Καλημέρα", "", GREEK_ONLY),
        ("elli", "Привет", "", HEART),
        ("", "Привет", "", HEART),
        ("espeak-ng", "Привет", "en", RUSSIAN),
    ],
)
def test_a_voice_that_reads_the_script_and_speaks_its_language(
    reference: str, text: str, language: str, speaker: Voice
) -> None:
    assert Fallback(reference).instead_of(HEART, foreign_script(text, HEART), language, VOICES) == speaker


def test_a_text_is_foreign_where_most_of_it_is() -> None:
    assert foreign_script("Hello, Привет", HEART) == "CYRILLIC"
    assert foreign_script("Hello there, Привет", HEART) == ""
    assert foreign_script("Übergröße, café, 42 € ½", HEART) == ""
    assert foreign_script("Привет", RUSSIAN) == ""


def test_a_fallback_that_does_not_exist_ends_the_start() -> None:
    Fallback("").check(VOICES)
    Fallback("espeak-ng").check(VOICES)
    Fallback("espeak-ng/ru").check(VOICES)
    with pytest.raises(StartupError, match="--tts_fallback_voice: there is no voice 'hart'; did you mean 'heart'"):
        Fallback("hart").check(VOICES)
    with pytest.raises(StartupError, match="--tts_fallback_voice: there is no voice 'espeak-ng/xx'"):
        Fallback("espeak-ng/xx").check(VOICES)
