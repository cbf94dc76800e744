"""Voices and rates."""

import math

import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, VoiceNotFoundError
from services.tts.domain import Voice, check_rate, choose_voice, filter_voices

NATIVE = AudioFormat(Encoding.PCM_S16LE, 22_050)
ENGLISH, BRITISH = Voice("en-US", "e", ("en-US",), NATIVE), Voice("en-GB", "e", ("en-GB", "en"), NATIVE)
MANDARIN = Voice("cmn", "e", ("cmn", "zh"), NATIVE)
VOICES = (ENGLISH, BRITISH, MANDARIN)


def test_the_named_voice_is_chosen_and_the_default_one_without_a_name() -> None:
    assert choose_voice(VOICES, "en-GB", "cmn", "") is MANDARIN
    assert choose_voice(VOICES, "en-GB", "", "") is BRITISH


def test_an_unknown_voice_is_refused_by_name() -> None:
    with pytest.raises(VoiceNotFoundError, match="no voice is called 'nobody'") as caught:
        choose_voice(VOICES, "en-GB", "nobody", "")
    assert caught.value.field == "voice"


@pytest.mark.parametrize("code", ["en", "EN-us", "en-AU"])
def test_a_dialect_of_its_language_does_not_take_the_voice_away(code: str) -> None:
    assert choose_voice(VOICES, "en-US", "", code) is ENGLISH


def test_without_a_name_the_language_finds_its_voice() -> None:
    assert choose_voice(VOICES, "en-US", "", "zh-CN") is MANDARIN


def test_among_the_speakers_of_a_language_the_dialect_asked_for_comes_first() -> None:
    assert choose_voice(VOICES, "cmn", "", "en-GB") is BRITISH
    assert choose_voice(VOICES, "cmn", "", "en-AU") is ENGLISH


@pytest.mark.parametrize(
    ("name", "message"), [("en-US", "'en-US' speaks en-US, not 'de'"), ("", "no voice here speaks 'de'")]
)
def test_a_language_that_cannot_be_spoken_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        choose_voice(VOICES, "en-US", name, "de")
    assert caught.value.field == "language_code"


def test_a_voice_of_many_languages_speaks_any() -> None:
    fake = Voice("fake", "fake", ("mul",), NATIVE)
    assert choose_voice((fake,), "fake", "", "sw") is fake


@pytest.mark.parametrize(
    ("language_range", "names"),
    [
        ("", ["en-US", "en-GB", "cmn"]),
        ("en", ["en-US", "en-GB"]),
        ("en-gb", ["en-GB"]),
        ("zh", ["cmn"]),
        ("e", []),
        ("de", []),
    ],
)
def test_voices_are_listed_by_language_range(language_range: str, names: list[str]) -> None:
    assert [voice.name for voice in filter_voices(VOICES, language_range)] == names


@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0])
def test_rates_within_the_contract_are_taken(rate: float) -> None:
    check_rate(rate)


@pytest.mark.parametrize("rate", [0.0, 0.24, 4.01, -1.0, math.nan, math.inf])
def test_rates_outside_the_contract_are_refused_by_name(rate: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"is outside 0\.25 to 4") as caught:
        check_rate(rate)
    assert caught.value.field == "speaking_rate"
