"""English number words. Pure functions over num2words."""

import re

_LONGEST = 15
"""Digits read as one number; longer ones are read digit by digit: nobody can follow them."""
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def cardinal(number: str) -> str:
    """ "1,234.50" as "one thousand two hundred thirty-four point five zero"; long numbers and "007" digit by digit."""
    whole, _, decimals = number.replace(",", "").partition(".")
    if len(whole) > _LONGEST or (len(whole) > 1 and whole[0] == "0"):
        words = digits(whole)
    else:
        words = _plain(_num2words(int(whole or 0)))
    return f"{words} point {digits(decimals)}" if decimals else words


def ordinal(number: int) -> str:
    """21 as "twenty-first"."""
    return _plain(_num2words(number, to="ordinal"))


def year(number: int) -> str:
    """1984 as "nineteen eighty-four", 2005 as "two thousand five"."""
    if 2000 <= number < 2010:
        return cardinal(str(number))
    return _plain(_num2words(number, to="year")).replace("oh-", "oh ")


def digits(text: str) -> str:
    """Each digit by itself."""
    return " ".join(_DIGITS[int(digit)] for digit in text if digit.isdigit())


def _num2words(number: int, to: str = "cardinal") -> str:
    from num2words import num2words

    words: str = num2words(number, lang="en", to=to)
    return words


def _plain(words: str) -> str:
    """As Americans say it, without "and", nor the commas of long ones."""
    return re.sub(r" and |, ", " ", words)
