"""Text that hibari's rules cannot take."""

import pytest

from services.tts.engines.hibari_text import prepare


@pytest.mark.parametrize(
    "text",
    ["Hello there.", "1,250 dollars and 3.14", "123456789012345", "call 555-0123, or not", "a[1](x)", "x" * 24],
)
def test_what_it_can_read_stays(text: str) -> None:
    assert prepare(text).replace("] (", "](") == text


def test_a_number_that_is_too_long_is_spelled_out() -> None:
    assert prepare("id 1234567890123456.") == "id 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6."
    assert prepare("1,000,000,000,000,000,000,000,000,000,000,000,000,000")[:7] == "1 0 0 0"


def test_a_word_that_is_too_long_is_split_and_no_letter_lost() -> None:
    word = "Donaudampfschifffahrtsgesellschaftskapitän"
    prepared = prepare(word)
    assert max(map(len, prepared.split())) <= 24
    assert prepared.replace(" ", "") == word


def test_a_link_is_not_taken_for_phonemes() -> None:
    assert prepare("[docs](/path/)") == "[docs] (/path/)"
