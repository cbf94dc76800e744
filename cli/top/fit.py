"""Lays tables out in as many lines as the terminal has. No I/O."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rich import box
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, eq=False)
class Row:
    """A line of a table. Where there is too little room, rows of the highest rank go first; those of rank 0 stay."""

    cells: tuple[Text | str, ...]
    rank: int = 0


@dataclass(frozen=True)
class Section:
    """A table; its columns are those of `words`, and then those of `figures`, which are aligned to the right."""

    words: tuple[str, ...]
    figures: tuple[str, ...]
    rows: tuple[Row, ...]


Part = Text | tuple[Section, ...]
"""A line of text, or tables that stand side by side where they can."""


class Fitted:
    """Parts below one another. Where they are too high they lose what only sets them apart, and then rows.

    Args:
        height: lines that there are; None for any number.
    """

    def __init__(self, parts: Iterable[Part], height: int | None) -> None:
        self._parts, self._height = tuple(parts), height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def excess(drawn: Group) -> int:
            return 0 if self._height is None else len(console.render_lines(drawn, options, pad=False)) - self._height

        drawn = self._drawn(box.SIMPLE_HEAD)
        if excess(drawn) > 0:
            sections = [section for part in self._parts if isinstance(part, tuple) for section in part]
            rows = sorted((row for section in sections for row in section.rows), key=lambda row: row.rank)
            needed = sum(row.rank == 0 for row in rows)
            while (over := excess(drawn := self._drawn(None, rows))) > 0 and len(rows) > needed:
                del rows[max(needed, len(rows) - over) :]
        yield drawn

    def _drawn(self, style: box.Box | None, rows: Collection[Row] | None = None) -> Group:
        """All parts, with these rows alone."""
        return Group(*(part if isinstance(part, Text) else _tables(part, style, rows) for part in self._parts))


def _tables(sections: tuple[Section, ...], style: box.Box | None, rows: Collection[Row] | None) -> RenderableType:
    tables = [table for section in sections if (table := _table(section, style, rows)).row_count]
    return Columns(tables, padding=(0, 4)) if len(tables) > 1 else Group(*tables)


def _table(section: Section, style: box.Box | None, rows: Collection[Row] | None) -> Table:
    table = Table(box=style, header_style="dim", pad_edge=False, collapse_padding=style is not None)
    for title in section.words:
        table.add_column(_line(title))
    for title in section.figures:
        table.add_column(title, justify="right", no_wrap=True)  # where it is narrow, words are cut, not figures
    for row in section.rows:
        if rows is None or row in rows:
            table.add_row(*map(_line, row.cells))
    return table


def _line(cell: Text | str) -> Text:
    """A cell that takes one line, however narrow it is."""
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
