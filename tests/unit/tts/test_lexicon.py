"""Words as an operator wants them said."""

from pathlib import Path

import pytest

from services.common.errors import StartupError
from services.tts.reading.lexicon import Lexicon, load_lexicon


def test_whole_words_are_replaced_the_longest_first_and_lower_case_means_any() -> None:
    lexicon = Lexicon(
        {"SQL": "sequel", "nginx": "engine X", "New York": "Noo York", "York": "Yawk", "C++": "see plus plus"}
    )
    assert lexicon.apply("SQL, sql, MySQL") == "sequel, sql, MySQL"
    assert lexicon.apply("Nginx and NGINX") == "engine X and engine X"
    assert lexicon.apply("New York, York") == "Noo York, Yawk"
    assert lexicon.apply("C++ and C") == "see plus plus and C"


def test_a_file_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "words.yaml"
    file.write_text("Parley: par lee\n'1984': 'nineteen eighty-four'\n", "utf-8")
    assert load_lexicon(file).apply("Parley, 1984") == "par lee, nineteen eighty-four"
    assert load_lexicon(None).apply("Parley") == "Parley"


@pytest.mark.parametrize("content", ["- a\n", "1984: x\n", "a: [b]\n", "a: ''\n", "a: b: c\n"])
def test_a_file_of_something_else_ends_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "words.yaml"
    file.write_text(content, "utf-8")
    with pytest.raises(StartupError, match="--tts_lexicon"):
        load_lexicon(file)


def test_a_missing_file_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"--tts_lexicon .*No such file"):
        load_lexicon(tmp_path / "none.yaml")
