"""What hibari's reading rules cannot take, put into words that they can. Pure functions."""

import re

_LONGEST_WORD = 24
"""Letters that its net for unknown words reads; it drops the rest."""
_LONGEST_NUMBER = 15
"""Digits that it reads as one number; beyond 36 its reading rules fail, and nobody can follow it long before."""

_WORD = re.compile(rf"[^\W\d_]{{{_LONGEST_WORD + 1},}}")
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?")
_PHONEME_LINK = re.compile(r"\](?=\()")


def prepare(text: str) -> str:
    """Split words that are too long, spell out numbers that are too long, and disarm `[word](/phonemes/)` links."""
    text = _WORD.sub(_split_word, text)
    text = _NUMBER.sub(_spell_number, text)
    return _PHONEME_LINK.sub("] ", text)


def _split_word(match: re.Match[str]) -> str:
    word = match.group()
    return " ".join(word[at : at + _LONGEST_WORD] for at in range(0, len(word), _LONGEST_WORD))


def _spell_number(match: re.Match[str]) -> str:
    digits = match.group().replace(",", "")
    return " ".join(digits) if len(digits) > _LONGEST_NUMBER else match.group()
