"""What a line of Markdown begins with (CommonMark 0.31, section 4 and 5; tables as in GFM). Pure."""

import re
from dataclasses import dataclass
from enum import Enum

MAX_FENCE_LINE = 80
"""Characters after which a line that begins like a fence is taken for text, so that speech does not wait for it."""
_MAX_MARKS = 250
"""Marks that a line may begin with before it is known what they are: what goes on and on is read only once."""
_SPACES = " \t"
_RULE_MARKERS = "-*+_="


class Line(Enum):
    """Kinds of line."""

    TEXT = "text"
    BLANK = "blank"
    HEADING = "heading"
    ITEM = "item"
    QUOTE = "quote"
    RULE = "rule"
    FENCE = "fence"
    TABLE_ROW = "table_row"


ENDS_WITH_LINE = frozenset({Line.HEADING, Line.ITEM, Line.TABLE_ROW})
"""Kinds that are over at the end of their line, whatever follows."""


@dataclass(frozen=True)
class Start:
    """A line's kind, the characters of it that are markup and gone, and the fence where it is one."""

    line: Line
    length: int
    fence: str = ""


def classify(line: str, *, final: bool) -> Start | None:
    """The kind of line that begins `line`; None where more must be seen first. `final`: there is no more."""
    indent = len(line) - len(line.lstrip(_SPACES))
    if indent == len(line):
        return Start(Line.BLANK, indent) if final else None if indent < _MAX_MARKS else Start(Line.TEXT, indent)
    first = line[indent]
    if first == "\n":
        return Start(Line.BLANK, indent + 1)
    if first == "#":
        return _heading(line, indent, final)
    if first in _RULE_MARKERS:
        return _rule_or_item(line, indent, final)
    if first.isdecimal():
        return _ordered_item(line, indent, final)
    if first == ">":
        return _quote(line, indent, final)
    if first in "`~":
        return _fence(line, indent, final)
    if first == "|":
        return _table(line, indent, final)
    return Start(Line.TEXT, indent)


def closes_fence(line: str, fence: str, *, final: bool) -> bool | None:
    """Whether a line of code is the end of it; None where more must be seen first."""
    text = line.strip(_SPACES)
    run = len(text) - len(text.lstrip(fence[0]))
    rest = text[run:]
    if not rest:
        return run >= len(fence) if final else None
    return rest.startswith("\n") and run >= len(fence)


def _run(line: str, start: int, characters: str) -> int:
    """Where a run of the characters that begins at `start` ends."""
    return len(line) - len(line[start:].lstrip(characters))


def _heading(line: str, indent: int, final: bool) -> Start | None:
    end = _run(line, indent, "#")
    if end == len(line) and end - indent <= 6:
        return Start(Line.TEXT, indent) if final else None
    if end - indent > 6 or line[end] not in " \t\n":
        return Start(Line.TEXT, indent)
    return Start(Line.HEADING, _run(line, end, _SPACES))


def _rule_or_item(line: str, indent: int, final: bool) -> Start | None:
    marker = line[indent]
    end = _run(line, indent, marker + _SPACES)
    if end == len(line) and not final:
        return None if end < _MAX_MARKS else Start(Line.RULE, end)
    if (end == len(line) or line[end] == "\n") and line.count(marker, indent, end) >= 3:
        return Start(Line.RULE, min(end + 1, len(line)))
    if marker in "-*+" and line[indent + 1 : indent + 2] in ("", " ", "\t", "\n"):
        return Start(Line.ITEM, _run(line, indent + 1, _SPACES))
    return Start(Line.TEXT, indent)


def _ordered_item(line: str, indent: int, final: bool) -> Start | None:
    """Its number is spoken, so nothing of it is markup."""
    match = re.compile(r"\d{1,9}([.)]?)").match(line, indent)
    if match is None:
        return Start(Line.TEXT, indent)
    end = match.end()
    if end == len(line):
        return Start(Line.TEXT, indent) if final else None
    return Start(Line.ITEM if match[1] and line[end] in " \t\n" else Line.TEXT, indent)


def _quote(line: str, indent: int, final: bool) -> Start | None:
    """Quotes within quotes as well."""
    end = _run(line, indent, ">" + _SPACES)
    if end == len(line) and not final and end < _MAX_MARKS:
        return None
    return Start(Line.QUOTE, end)


def _fence(line: str, indent: int, final: bool) -> Start | None:
    marker = line[indent]
    end = _run(line, indent, marker)
    if end == len(line) and not final and end < _MAX_MARKS:
        return None
    if end - indent < 3 or end >= _MAX_MARKS:
        return Start(Line.TEXT, indent)
    newline = line.find("\n", end)
    info = line[end:] if newline < 0 else line[end:newline]
    if (marker == "`" and "`" in info) or len(info) > MAX_FENCE_LINE:
        return Start(Line.TEXT, indent)
    if newline < 0 and not final:
        return None
    return Start(Line.FENCE, len(line) if newline < 0 else newline + 1, line[indent:end])


def _table(line: str, indent: int, final: bool) -> Start | None:
    """A row loses its first bar; the row below the header, of dashes alone, goes whole."""
    end = _run(line, indent, "|-: \t")
    if end == len(line) and not final:
        return None if end < _MAX_MARKS else Start(Line.RULE, end)
    if "-" in line[indent:end] and (end == len(line) or line[end] == "\n"):
        return Start(Line.RULE, end + (end < len(line)))
    return Start(Line.TABLE_ROW, indent + 1)
