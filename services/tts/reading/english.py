"""English as it is read aloud. Pure: each rule is a pattern and what is said for a match; their order matters.

Rules leave alone what they are not sure of: the voices have rules of their own for what is left.
"""

import re
from collections.abc import Callable

from services.tts.reading.addresses import addresses
from services.tts.reading.english_words import (
    ABBREVIATIONS,
    CHAPTERS,
    CURRENCIES,
    FRACTIONS,
    KINGS,
    MONTHS,
    PLURALS,
    SCALES,
    TITLES,
    UNITS,
)
from services.tts.reading.numerals import cardinal, digits, ordinal, year

_MONTH_BY_START = {name[:3]: name for name in MONTHS}
_MONTH = "(?P<month>" + "|".join((*MONTHS, *_MONTH_BY_START, "Sept")) + r")\b\.?"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_BEFORE, _AFTER = r"(?<![\w.,])", r"(?![\w]|[.,]\d)"
_SCALE = r"(?:\s?(?P<scale>thousand|million|billion|trillion|mn|bn|[kKmMbBtT])\b)?"
_CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}

_Say = Callable[[re.Match[str]], str]


def read(text: str) -> str:
    """The text in words."""
    text = addresses(text)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    return re.sub(r"[ \t]{2,}", " ", text)


def _plural(word: str, number: str) -> str:
    if number in ("1", "1.0"):
        return word
    first, of, rest = word.partition(" per ")
    head, _, last = first.rpartition(" ")
    if last in ("Celsius", "Fahrenheit"):
        return f"{_plural(head, number)} {last}"
    many = PLURALS.get(last) or (last if last.endswith("hertz") else f"{last}s")
    return f"{head} {many}".strip() + of + rest


def _date(month: str, day: str, years: str | None) -> str:
    said = f"{month} {ordinal(int(day))}"
    return f"{said}, {year(int(years))}" if years else said


def _iso_date(match: re.Match[str]) -> str:
    years, month, day = match.groups()
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return match.group()
    return _date(MONTHS[int(month) - 1], day, years)


def _slash_date(match: re.Match[str]) -> str:
    """Month first, as in the United States, unless it can be none."""
    month, day, years = match.groups()
    if int(month) > 12:
        month, day = day, month
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return match.group()
    if len(years) == 2:
        years = ("19" if int(years) > 50 else "20") + years
    return _date(MONTHS[int(month) - 1], day, years)


def _month_day(match: re.Match[str]) -> str:
    if not 1 <= int(match["day"]) <= 31:
        return match.group()
    return _date(_MONTH_BY_START[match["month"][:3]], match["day"], match["year"])


def _day_month(match: re.Match[str]) -> str:
    if not 1 <= int(match["day"]) <= 31:
        return match.group()
    said = f"{match['the'] or 't'}he {ordinal(int(match['day']))} of {_MONTH_BY_START[match['month'][:3]]}"
    return f"{said}, {year(int(match['year']))}" if match["year"] else said


def _time(match: re.Match[str]) -> str:
    hour, minute, second, half = int(match["hour"]), int(match["minute"] or 0), match["second"], match["half"]
    if hour > 24 or minute > 59:
        return match.group()
    said = cardinal(str(hour))
    if minute:
        said += f" oh {cardinal(str(minute))}" if minute < 10 else f" {cardinal(str(minute))}"
    elif not half:
        said += " o'clock" if 0 < hour <= 12 else " hundred hours"
    if second:
        said += f" and {cardinal(str(int(second)))} {_plural('second', str(int(second)))}"
    if half:
        said += f" {half[0].upper()}.M."
        return said[:-1] if match.string[match.end() : match.end() + 1] == "." else said
    return said


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"].replace(",", ""), match["scale"]
    unit, part = CURRENCIES[match["currency"]]
    if scale:
        return f"{cardinal(amount)} {SCALES.get(scale.lower(), scale)} {_plural(unit, '2')}"
    whole, _, cents = amount.partition(".")
    if not part or len(cents) != 2 or not int(cents):
        return f"{cardinal(whole if not cents.strip('0') else amount)} {_plural(unit, whole)}"
    said = f"{cardinal(str(int(cents)))} {_plural(part, str(int(cents)))}"
    return f"{cardinal(whole)} {_plural(unit, whole)} and {said}" if int(whole) else said


def _measure(match: re.Match[str]) -> str:
    number = match["number"]
    return f"{_signed(number)} {_plural(UNITS[match['unit']], number)}"


def _signed(number: str) -> str:
    return f"minus {cardinal(number[1:])}" if number[0] in "-−" else cardinal(number)


def _scaled(match: re.Match[str]) -> str:
    return f"{cardinal(match['number'])} {SCALES[match['scale'].lower()]}"


def _phone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match.group())
    said = ", ".join(digits(group) for group in groups)
    return f"plus {said}" if match.group().startswith("+") else said


def _decade(match: re.Match[str]) -> str:
    decade = match["decade"]
    said = year(int(decade)) if len(decade) == 4 else cardinal(decade)
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    if not 0 < above < below <= 10:
        return match.group()
    one = FRACTIONS.get(below) or ordinal(below)
    many = "halves" if one == "half" else f"{one}s"
    return f"{cardinal(match[1])} {one if above == 1 else many}"


def _roman(numeral: str) -> int:
    values = [_ROMAN[letter] for letter in numeral]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


def _title(match: re.Match[str]) -> str:
    return "Saint " if match[1] == "St" else f"{ABBREVIATIONS[match[1]]} "


def _abbreviation(match: re.Match[str]) -> str:
    """Its full stop ends the sentence, too, where nothing follows."""
    end = "." if match.end() == len(match.string) else ""
    return ABBREVIATIONS[match[1]] + end


def _code(match: re.Match[str]) -> str:
    """Letters and digits that are a name: "BA2490", "B12", "A4"."""
    letters, number = match.groups()
    said = cardinal(number) if len(number) <= 2 and number[0] != "0" else digits(number)
    return f"{letters} {said}"


def _month_year(match: re.Match[str]) -> str:
    return f"{_MONTH_BY_START[match['month'][:3]]} {year(int(match[2]))}"


def _ordinal(match: re.Match[str]) -> str:
    return ordinal(int(match[1].replace(",", "")))


def _king(match: re.Match[str]) -> str:
    return f"{match[1]} the {ordinal(_roman(match[2]))}"


def _chapter(match: re.Match[str]) -> str:
    return f"{match[1]} {cardinal(str(_roman(match[2])))}"


def _et_cetera(match: re.Match[str]) -> str:
    """Its full stop ends the sentence, too, where nothing follows."""
    return "et cetera" + ("." if match.end() == len(match.string) else "")


def _street(match: re.Match[str]) -> str:
    return "Street" + ("." if match.end() == len(match.string) else "")


def _dots(match: re.Match[str]) -> str:
    return " dot ".join(map(digits, match.group().split(".")))


def _points(match: re.Match[str]) -> str:
    return " point ".join(map(cardinal, match.group().lstrip("v").split(".")))


def _to(match: re.Match[str]) -> str:
    return f"{match[1]} to {match[2]}"


def _rule(pattern: str, say: _Say | str) -> tuple[re.Pattern[str], _Say]:
    return re.compile(pattern), (lambda match: match.expand(say)) if isinstance(say, str) else say


_RULES = (
    _rule(r"’", "'"),
    _rule(rf"{_BEFORE}(\d{{4}})-(\d{{2}})-(\d{{2}}){_AFTER}", _iso_date),
    _rule(rf"{_BEFORE}(\d{{1,2}})/(\d{{1,2}})/(\d{{4}}|\d{{2}}){_AFTER}", _slash_date),
    _rule(rf"\b{_MONTH} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?{_AFTER}(?!:)", _month_day),
    _rule(
        rf"{_BEFORE}(?:(?P<the>[Tt])he )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{_MONTH}"
        rf"(?:,? (?P<year>\d{{4}}){_AFTER})?",
        _day_month,
    ),
    _rule(rf"\b{_MONTH},? (\d{{4}}){_AFTER}", _month_year),
    _rule(
        rf"{_BEFORE}(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?"
        rf"(?:\s?(?P<half>[AaPp]\.?[Mm](?:\.|\b)))?(?![\w:]|\.\d)",
        _time,
    ),
    _rule(rf"{_BEFORE}(?P<hour>\d{{1,2}})(?P<minute>)(?P<second>)\s?(?P<half>[AaPp]\.?[Mm](?:\.|\b))(?!\w)", _time),
    _rule(r"(?<![\w+])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)[ .-]?|\d{3}[ .-])\d{3,4}[ .-]\d{4}(?![\w-]|[.,]\d)", _phone),
    _rule(r"(?<!\w)\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}(?![\w-]|[.,]\d)", _phone),
    _rule(r"(?<![\w-])\d{3}-\d{4}(?![\w-]|[.,]\d)", _phone),
    _rule(rf"(?<!\w)(?P<currency>{_CURRENCY})\s?(?P<amount>{_NUMBER}){_SCALE}{_AFTER}", _money),
    _rule(rf"{_BEFORE}(?P<amount>{_NUMBER}){_SCALE}\s?(?P<currency>[€£]|USD|EUR|GBP|CHF|JPY)(?!\w)", _money),
    _rule(r"(?<![\w.])'?(?P<decade>(?:1\d|20)\d0|[2-9]0)'?s\b", _decade),
    _rule(rf"{_BEFORE}(\d{{1,4}})\s?[-–]\s?(\d{{1,4}})(?=(?:%|\s?(?:{_UNIT}))?(?![\w-]|[.,]\d))", _to),
    _rule(rf"(?<![\w.,])(?P<number>[-−]?(?:{_NUMBER}))\s?(?P<unit>{_UNIT})(?![\w/])", _measure),
    _rule(rf"(?<![\w.,])([-−]?(?:{_NUMBER}))\s?%", lambda match: f"{_signed(match[1])} percent"),
    _rule(rf"{_BEFORE}(?P<number>{_NUMBER})(?P<scale>[KM])\b", _scaled),
    _rule(rf"{_BEFORE}(\d+)x(?=\d)", lambda match: f"{cardinal(match[1])} by "),
    _rule(rf"{_BEFORE}({_NUMBER})x\b", lambda match: f"{cardinal(match[1])} times"),
    _rule(rf"{_BEFORE}(\d{{1,2}})/(\d{{1,2}})(?![\w/]|[.,]\d)", _fraction),
    _rule(rf"{_BEFORE}(\d[\d,]*)(?:st|nd|rd|th)\b", _ordinal),
    _rule(
        rf"(?i:\b(in|since|until|by|from|of|to|year|during|before|after|and|between|circa) )((?:1[1-9]|20)\d\d){_AFTER}"
        r"(?! ?(?:[a-z]+s|people|percent)\b)",
        lambda match: f"{match[1]} {year(int(match[2]))}",
    ),
    _rule(r"\b(Nos?)\. ?(?=\d)", lambda match: "numbers " if match[1] == "Nos" else "number "),
    _rule(r"(?<![\w&])#(?=\d)", "number "),
    _rule(rf"\b({'|'.join(KINGS)}) ([IVX]{{1,5}})\b(?!\.\w)", _king),
    _rule(rf"\b({'|'.join(CHAPTERS)}) ([IVXLC]{{1,6}})\b(?!\.\w)", _chapter),
    _rule(rf"\b({'|'.join(TITLES)})\. ?(?=[A-Z])", _title),
    _rule(r"(?<=[a-z] )St\.(?=[ ,;]|$)", _street),
    _rule(rf"\b({'|'.join(ABBREVIATIONS)})\.(?!\w)", _abbreviation),
    _rule(r"\be\.g\.,?", "for example,"),
    _rule(r"\bi\.e\.,?", "that is,"),
    _rule(r"\betc\.", _et_cetera),
    _rule(r"\b([A-Z]{1,3})-?(\d{1,5})\b", _code),
    _rule(rf"{_BEFORE}(\d+)([A-Z])\b", lambda match: f"{cardinal(match[1])} {match[2]}"),
    _rule(rf"{_BEFORE}\d+(?:\.\d+){{3}}{_AFTER}", _dots),
    _rule(rf"{_BEFORE}v?\d+(?:\.\d+){{2}}{_AFTER}", _points),
    _rule(rf"(?<![\w.,])[-−](?={_NUMBER})", "minus "),
    _rule(rf"(?<![\w.,]){_NUMBER}(?![\w]|[.,]\d)", lambda match: cardinal(match.group())),
    _rule(r"\s&\s", " and "),
    _rule(r"(?<=\w)\s\+\s(?=\w)", " plus "),
    _rule(r"(?<=\w)\s=\s(?=\w)", " equals "),
    _rule(r"(?<=\w)\s[×x]\s(?=\w)", " times "),
)  # fmt: skip
