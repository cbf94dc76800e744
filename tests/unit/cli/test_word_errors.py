"""Word error rate."""

import pytest

from cli.word_errors import word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("Hello there!", "hello, there", 0.0),
        ("one two three four", "one two four", 0.25),
        ("one two", "one too", 0.5),
        ("one two", "one big two", 0.5),
        ("it's", "it’s", 0.0),
        ("one", "", 1.0),
        ("", "", 0.0),
        ("", "one two", 2.0),
        ("Ça va?", "ça va", 0.0),
    ],
)
def test_rate_counts_words_not_letters(said: str, heard: str, rate: float) -> None:
    assert word_error_rate(said, heard) == rate
