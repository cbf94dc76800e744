"""Checking, cleaning and cutting of text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, TextTooLongError
from services.tts import text as texts
from services.tts.domain import Voice

NATIVE = AudioFormat(Encoding.PCM_S16LE, 24_000)
LATIN = Voice("heart", "hibari", ("en-US",), NATIVE, frozenset({"LATIN"}))
ANY = Voice("en-US", "espeak-ng", ("en-US",), NATIVE)


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_empty_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is empty") as caught:
        texts.check_text(text, 10)
    assert caught.value.field == "text"


def test_the_longest_text_is_taken_and_one_more_character_is_not() -> None:
    texts.check_text("a" * 10, 10)
    with pytest.raises(TextTooLongError, match="11 characters are more than 10") as caught:
        texts.check_text("a" * 11, 10)
    assert caught.value.field == "text"


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  Hello.  ", "Hello."),
        ("one\x00two", "one two"),
        ("one\u200btwo\ufeff", "onetwo"),
        ("e\u0301tude", "étude"),
        ("one\r\ntwo", "one\ntwo"),
        ("हिन्दी", "हिन्दी"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("21 °C, 5 €", "21 °C, 5 €"),
    ],
)
def test_cleaning_drops_what_cannot_be_read_and_nothing_else(raw: str, cleaned: str) -> None:
    assert texts.clean(raw) == cleaned


@pytest.mark.parametrize("text", ["a", "7", "½", "你", "…7", "हि"])
def test_letters_and_digits_of_any_script_are_something_to_say(text: str) -> None:
    assert texts.has_speech(text)


@pytest.mark.parametrize("text", ["", "…", "...", "?!", "😀", "—", "\u200b", "**"])
def test_punctuation_and_emoji_alone_are_nothing_to_say(text: str) -> None:
    assert not texts.has_speech(text)


@pytest.mark.parametrize("text", ["Hello", "naïve café", "Ｈｅｌｌｏ", "Xin chào", "42", "… 50 %", "x², 1ª", "5 µm"])
def test_latin_letters_and_everything_that_is_no_letter_stay(text: str) -> None:
    assert texts.readable_by(text, LATIN) == text


@pytest.mark.parametrize("text", ["你好", "Привет", "Γειά σου", "नमस्ते", "你好 42"])
def test_text_without_a_letter_that_the_voice_knows_is_refused_and_names_the_voice(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'heart' speaks en-US and cannot read this script") as caught:
        texts.readable_by(text, LATIN)
    assert caught.value.field == "text"


def test_foreign_letters_among_known_ones_are_left_out() -> None:
    assert texts.readable_by("In Russian, Привет means hello.", LATIN) == "In Russian, means hello."
    assert texts.readable_by("Hindi: हिन्दी\nThe end.", LATIN) == "Hindi: \nThe end."


def test_a_voice_without_a_script_list_reads_everything() -> None:
    assert texts.readable_by("你好, Привет", ANY) == "你好, Привет"


def test_short_text_is_one_piece() -> None:
    assert texts.cut(" Hello there. ", 40) == ["Hello there."]


def test_long_text_is_cut_after_the_last_clause_that_fits() -> None:
    text = "when the rain had gone, and the sun was out, we walked along the river for an hour"
    assert texts.cut(text, 50) == [
        "when the rain had gone, and the sun was out,",
        "we walked along the river for an hour",
    ]


def test_a_number_is_not_cut_at_its_comma() -> None:
    assert texts.cut("they paid us about 1,250 dollars for it", 24) == ["they paid us about 1,250", "dollars for it"]


def test_text_without_a_clause_is_cut_at_spaces_and_without_a_space_anywhere() -> None:
    assert texts.cut("one two three four five", 11) == ["one two", "three four", "five"]
    assert texts.cut("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert texts.cut("今天天气很好，我们去公园。", 8) == ["今天天气很好，", "我们去公园。"]


@settings(deadline=None)
@given(st.text(alphabet="ab ,;.—，\n", max_size=200), st.integers(3, 40))
def test_cutting_loses_nothing_doubles_nothing_and_keeps_the_limit(text: str, limit: int) -> None:
    pieces = texts.cut(text, limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= limit for piece in pieces)


@pytest.mark.parametrize(
    ("piece", "last", "pause_s"),
    [
        ("Hello there.", False, texts.SENTENCE_PAUSE_S),
        ('"Really?"', False, texts.SENTENCE_PAUSE_S),
        ("when it rains,", False, texts.CLAUSE_PAUSE_S),
        ("Well,", True, texts.CLAUSE_PAUSE_S),
        ("and then we", False, texts.WORD_PAUSE_S),
        ("A heading", True, texts.SENTENCE_PAUSE_S),
        ("", True, texts.SENTENCE_PAUSE_S),
    ],
)
def test_the_pause_after_a_piece_is_that_of_its_end(piece: str, last: bool, pause_s: float) -> None:
    assert texts.longest_pause_s(piece, last=last) == pause_s
