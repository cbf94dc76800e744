"""From a model's Markdown to text that can be spoken: pieces, and the borders between its paragraphs. Pure."""

from dataclasses import dataclass
from enum import Enum

from services.llm.speech.markdown_inline import InlineMarkdown
from services.llm.speech.markdown_lines import ENDS_WITH_LINE, Line, classify, closes_fence
from services.llm.speech.unspeakable import Cleaner


class Kind(Enum):
    """What a piece is."""

    PLAIN = "plain"
    JOINED = "joined"
    """Text that must not be cut: inside a pair of delimiters, code, a link."""
    BREAK = "break"
    """No text: a paragraph, heading, list item or table row is over."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of speakable text."""

    kind: Kind
    text: str = ""


_BREAK = Piece(Kind.BREAK)


class Speakable:
    """Takes Markdown and the unspeakable out of a text that comes in chunks."""

    def __init__(self) -> None:
        self._inline = InlineMarkdown()
        self._cleaner = Cleaner()
        self._pieces: list[Piece] = []
        self._line: str | None = ""
        """The beginning of a line that is not understood yet; None inside a line."""
        self._kind = Line.BLANK
        self._fence = ""

    def feed(self, text: str) -> list[Piece]:
        """More text; a carriage return is part of a line's end."""
        if self._line is None and "\n" not in text and "\r" not in text:  # nearly always
            self._inside(text)
            return self._take()
        for line in _lines(text.replace("\r", "")):
            self._feed_line(line)
        return self._take()

    def finish(self) -> list[Piece]:
        """Nothing follows."""
        if self._line is not None:
            self._begin_line("", final=True)
        self._add(self._inline.finish())
        return self._take()

    def _feed_line(self, text: str) -> None:
        """A part of one line, at most to its end."""
        if self._line is not None:
            self._begin_line(text, final=False)
        else:
            self._inside(text)

    def _begin_line(self, text: str, *, final: bool) -> None:
        """Understand how a line begins; what follows goes on as the inside of it."""
        line = (self._line or "") + text
        if self._fence:
            self._begin_code_line(line, final=final)
            return
        start = classify(line, final=final)
        if start is None:
            self._line = line
            return
        rest = line[start.length :]
        self._line = None
        if start.line is Line.TEXT and self._kind is Line.TEXT:
            self._inside(rest)
            return
        if start.line is Line.QUOTE:
            self._line = ""
            if rest:
                self._begin_line(rest, final=final)
            return
        self._break()
        self._kind = start.line
        if start.line in (Line.BLANK, Line.RULE, Line.FENCE):
            self._line, self._fence = "", start.fence
            if rest:
                self._feed_line(rest)
            return
        self._inline.begin(table_row=start.line is Line.TABLE_ROW)
        self._inside(rest)

    def _begin_code_line(self, line: str, *, final: bool) -> None:
        closing = closes_fence(line, self._fence, final=final)
        if closing is None:
            self._line = line
        elif closing:
            self._break()
            self._line, self._fence, self._kind = "", "", Line.BLANK
        else:
            self._line = None
            self._inside(line)

    def _inside(self, text: str) -> None:
        ends = text.endswith("\n")
        if self._fence:
            self._piece(text, joined=True, verbatim=True)
        elif ends and self._kind in ENDS_WITH_LINE:
            self._add(self._inline.feed(text[:-1]))
            self._break()
            self._kind = Line.BLANK
        else:
            self._add(self._inline.feed(text))
        if ends:
            self._line = ""

    def _break(self) -> None:
        self._add(self._inline.finish())
        self._cleaner.feed("\n")
        self._pieces.append(_BREAK)

    def _add(self, pieces: list[tuple[str, bool]]) -> None:
        for text, joined in pieces:
            self._piece(text, joined=joined)

    def _piece(self, text: str, *, joined: bool, verbatim: bool = False) -> None:
        cleaned = self._cleaner.feed(text, verbatim=verbatim)
        if cleaned:
            self._pieces.append(Piece(Kind.JOINED if joined else Kind.PLAIN, cleaned))

    def _take(self) -> list[Piece]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _lines(text: str) -> list[str]:
    """Lines with their ends, split at line feeds alone."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
