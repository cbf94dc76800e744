"""Numbers for voices that know letters alone."""

import pytest

from services.tts.numbers import spell


@pytest.mark.parametrize(
    ("text", "language_code", "spoken"),
    [
        ("I have 42, not 3.5.", "en", "I have forty-two, not three point five."),
        ("1,234 people", "en-US", "one thousand, two hundred and thirty-four people"),
        (
            "Room 1000000000000001.",
            "en",
            "Room one zero zero zero zero zero zero zero zero zero zero zero zero zero zero one.",
        ),
        ("Ich habe 21 Euro.", "de", "Ich habe einundzwanzig Euro."),
        ("Il y en a 80", "fr", "Il y en a quatre-vingts"),
        ("12 in a language without words", "ceb", "12 in a language without words"),
        ("No numbers.", "en", "No numbers."),
        ("٣ cats", "en", "three cats"),
    ],
)
def test_numbers_become_words(text: str, language_code: str, spoken: str) -> None:
    assert spell(text, language_code) == spoken
