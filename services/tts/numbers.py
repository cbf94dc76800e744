"""Numbers as words, for voices that know letters alone. Pure functions."""

import re

_LONGEST = 15
"""Digits read as one number; longer ones are read digit by digit: nobody can follow them."""
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_DIGITS = re.compile(r"\d+")
"""What separates digits means different things in other languages: there, only digits are a number."""


def spell(text: str, language_code: str) -> str:
    """The text with its numbers in words, as num2words has them; unchanged in languages that it lacks."""
    from num2words import CONVERTER_CLASSES, num2words

    primary = language_code.partition("-")[0]
    region = language_code.replace("-", "_")
    # Asked for a language that it lacks, num2words takes the first two letters for one.
    language = next((code for code in (region, primary) if code in CONVERTER_CLASSES), None)
    if language is None or not _DIGITS.search(text):
        return text

    def words(match: re.Match[str]) -> str:
        number = match.group().replace(",", "")
        parts = [number] if len(number) <= _LONGEST else [digit for digit in number if digit != "."]
        try:
            return " ".join(num2words(part, lang=language) for part in parts)
        except (NotImplementedError, OverflowError):
            return match.group()

    spelled = (_ENGLISH if primary == "en" else _DIGITS).sub(lambda match: f" {words(match)} ", text)
    return re.sub(r" +(?=[ .,;:!?]|$)", "", spelled).lstrip()
