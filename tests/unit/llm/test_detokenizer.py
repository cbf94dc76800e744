"""Tokens become text without half characters."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.llm.backends.detokenizer import Detokenizer

SPECIAL = 256


def decode(tokens: Sequence[int]) -> str:
    """One token a byte, and one that is no text."""
    return bytes(token for token in tokens if token != SPECIAL).decode(errors="replace")


def run(tokens: Sequence[int]) -> tuple[list[str], str]:
    detokenizer = Detokenizer(decode)
    return [detokenizer.feed(token) for token in tokens], detokenizer.finish()


def test_a_character_comes_when_its_last_byte_does() -> None:
    assert run("aé".encode()) == (["a", "", "é"], "")


def test_a_character_that_is_never_finished_is_dropped() -> None:
    assert run("ab👋".encode()[:-1]) == (["a", "b", "", "", ""], "")


def test_special_tokens_are_no_text() -> None:
    assert run([*b"a", SPECIAL, *b"b"]) == (["a", "", "b"], "")


@given(st.text(max_size=40).filter(lambda text: "\ufffd" not in text))
def test_the_pieces_are_the_text(text: str) -> None:
    pieces, rest = run(text.encode())
    assert "".join(pieces) + rest == text
