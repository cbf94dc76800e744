"""Finds the tool calls in an answer that comes in chunks. Pure and incremental.

A format says how its markup begins and gives a `Body` for what follows. The scanner lets text through, hands the inside
of markup to its body, and puts together what both find, in order. What may be the beginning of markup waits.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Call:
    """A call; the arguments are a JSON object, as text."""

    name: str
    arguments_json: str


@dataclass(frozen=True, slots=True)
class BadCall:
    """Markup that is no call that can be made: its name ("" where it has none), its text, and what is wrong."""

    name: str
    text: str
    error: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A call begins here; what it is comes later."""


Found: TypeAlias = str | Begun | Call | BadCall
"""What an answer is made of; a str is its text."""

Signatures: TypeAlias = Mapping[str, str]
"""The tools that may be called: by name, the JSON Schemas of their parameters, as JSON text."""


_STRAY = ("</tool_call>", "<tool_response>", "</tool_response>")
"""Marks that open nothing, and that small models write where they do not belong: they go."""
CERTAIN = 5
"""Characters of a mark that at the end of an answer are the beginning of a call, not text."""


class Verdict(Enum):
    """What a body makes of its text so far."""

    OPEN = "open"
    """It goes on."""
    OVER = "over"
    """It has ended; `calls` tells what it was."""
    TEXT = "text"
    """It is no markup: text of the answer that only looked like it."""


class Body(ABC):
    """The inside of one piece of markup, after what opened it.

    Args:
        opening: what opened it.
        signatures: the tools that may be called.
        first: whether nothing but white space came before it in the answer.
    """

    def __init__(self, opening: str, signatures: Signatures, *, first: bool) -> None:
        self.opening = opening
        self.signatures = signatures
        self.first = first
        self.text = ""
        """All of it, and after its end what follows: from `end` on."""
        self.end = 0

    @abstractmethod
    def feed(self, text: str) -> Verdict:
        """More text; sets `end` where it is over."""

    @abstractmethod
    def calls(self) -> list[Call | BadCall]:
        """What the body was: its text up to `end`."""

    def finish(self) -> list[Call | BadCall] | None:
        """Nothing follows, and the body was still open: what it was, None where it was text."""
        self.end = len(self.text)
        return self.calls()


@dataclass(frozen=True)
class ToolFormat:
    """How a family of models writes calls.

    Attributes:
        openings: what begins markup.
        body: what reads on after it.
        signs: any of these in a chat template tells the format, where its rendered calls do not.
        tokens: control tokens that must not be left out when tokens become text.
        bare: whether openings are ordinary characters: then text is searched only where tools may be called.
    """

    name: str
    openings: tuple[str, ...]
    body: Callable[..., Body]
    signs: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    bare: bool = False


class _Marks(NamedTuple):
    """What to look for, made of all marks."""

    firsts: frozenset[str]
    pattern: re.Pattern[str]
    beginnings: frozenset[str]
    longest: int


@lru_cache(maxsize=64)
def _marks(marks: tuple[str, ...]) -> _Marks:
    return _Marks(
        frozenset(mark[0] for mark in marks),
        re.compile("|".join(map(re.escape, marks))),
        frozenset(mark[:length] for mark in marks for length in range(1, len(mark))),
        max(map(len, marks)),
    )


class ToolCallParser:
    """Sorts the text of an answer into text and calls.

    Args:
        formats: how calls may be written.
        signatures: the tools that may be called; a call of any other is a `BadCall`.
    """

    def __init__(self, formats: Sequence[ToolFormat], signatures: Signatures) -> None:
        self._bodies = {
            opening: known.body for known in formats if signatures or not known.bare for opening in known.openings
        }
        marks = _marks((*self._bodies, *_STRAY))
        self._firsts, self._marks, self._beginnings, self._longest = marks
        self._signatures = signatures
        self._held = ""
        self._body: Body | None = None
        self._space: str | None = ""
        """White space that is waiting for text: none is kept around calls. None within text."""
        self._between = " \t\n\r"
        self._any_text = False

    def feed(self, text: str) -> list[Found]:
        """More text; what it completes."""
        if self._body is None and not self._held and self._space is None and self._firsts.isdisjoint(text):
            return [text] if text else []  # nearly always
        found: list[Found] = []
        self._feed(text, found)
        return found

    def finish(self) -> list[Found]:
        """Nothing follows: what waited is text, and an open call is as good as it is."""
        found: list[Found] = []
        while self._body is not None:
            body, self._body = self._body, None
            calls = body.finish()
            if calls is None:
                self._text(body.opening, found)
                self._feed(body.text, found)
            else:
                self._take(calls, found)
                self._feed(body.text[body.end :], found)
        held, self._held = self._held, ""
        if len(held) >= CERTAIN:
            self._take([BadCall("", held, "the call is incomplete")], found)
        else:
            self._text(held, found)
        return found

    def _feed(self, text: str, found: list[Found]) -> None:
        while text:
            if self._body is not None:
                text = self._inside(self._body, text, found)
                continue
            text = self._held + text
            self._held = ""
            at, opening = self._find(text)
            self._text(text[:at], found)
            if not opening:
                self._held = text[at:]
                return
            text = text[at + len(opening) :]
            if opening in _STRAY:
                continue
            self._body = self._bodies[opening](opening, self._signatures, first=not self._any_text)
            if len(opening) > 1:  # else it may turn out to be text
                found.append(Begun())

    def _find(self, text: str) -> tuple[int, str]:
        """Where the first opening is, and which; where there is none, the end of what is certainly text, and ""."""
        mark = self._marks.search(text)
        if mark is not None:
            return mark.start(), mark[0]
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start:] in self._beginnings:
                return start, ""
        return len(text), ""

    def _inside(self, body: Body, text: str, found: list[Found]) -> str:
        """Let a body take text; returns what is left of it."""
        verdict = body.feed(text)
        if verdict is Verdict.OPEN:
            return ""
        self._body = None
        if verdict is Verdict.TEXT:
            self._text(body.opening, found)
            return body.text
        self._take(body.calls(), found)
        return body.text[body.end :]

    def _take(self, calls: list[Call | BadCall], found: list[Found]) -> None:
        for call in calls:
            if isinstance(call, Call) and call.name not in self._signatures:
                call = BadCall(call.name, call.arguments_json, "there is no such tool")
            found.append(call)
        self._space, self._between = "", " \t\n\r;,"

    def _text(self, text: str, found: list[Found]) -> None:
        if self._space is not None:
            if not text.strip(self._between):
                self._space += text
                return
            text, self._space = self._space + text, None
        if text:
            self._any_text = self._any_text or not text.isspace()
            found.append(text)
