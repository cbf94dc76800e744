"""What no voice can say goes; every letter, mark and sign that it can say stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.speech.unspeakable import Cleaner


def clean(*chunks: str, verbatim: bool = False) -> str:
    cleaner = Cleaner()
    return "".join(cleaner.feed(chunk, verbatim=verbatim) for chunk in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी में",
        "ภาษาไทยที่นี่",
        "தமிழ்",
        "20 °C",
        "كيف حالك؟",
        "5 € + $3 − £2 = 2 × ¥4 ≈ ±6 ÷ √9",
        "naïve café e\u0301",
        "「はい」、そうです。",
        "1/2 @home #1 50%",
    ],
)
def test_edge_05_letters_marks_and_signs_stay(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Great 👍🏽!", "Great !"),
        ("👨‍👩‍👧 family", "family"),
        ("🇫🇷 France", "France"),
        ("1️⃣ first", "1 first"),
        ("a\u200bb\u200dc\ufeffd", "abcd"),
        ("bell\x07 ring", "bell ring"),
        ("✅ done ⭐", "done "),
        ("soft\u00adhyphen", "softhyphen"),
    ],
)
def test_edge_05_emoji_controls_and_zero_width_characters_go(text: str, spoken: str) -> None:
    assert clean(text) == clean(*text) == spoken


def test_words_that_a_picture_kept_apart_are_not_glued() -> None:
    assert clean("Hi👋there") == clean("Hi", "👋", "there") == "Hi there"
    assert clean("हिन्दी👋और") == "हिन्दी और"


def test_runs_of_space_become_one_space_but_not_in_code() -> None:
    assert clean("a \n\t b", "  ", " c") == "a b c"
    assert clean("if x:\n    y()", verbatim=True) == "if x:\n    y()"


@given(st.text(st.sampled_from("ab हि👋\u200d️ \n\x07é"), max_size=30))
def test_the_chunking_does_not_matter(text: str) -> None:
    assert clean(text) == clean(*text)
