"""What the commands print: tables and text made safe for a terminal. No I/O."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from parley_client.events import Timings
from rich import box
from rich.table import Table
from rich.text import Text

from cli.dialogue import Turn

_STEPS = (
    ("end of speech decided", "endpointing_s"),
    ("final transcript", "final_transcript_s"),
    ("first token of the answer", "first_token_s"),
    ("first segment to speak", "first_segment_s"),
    ("first audio", "first_audio_s"),
    ("answer complete", "total_s"),
)


def printable(text: str) -> str:
    """Text from elsewhere without control characters, which would move the cursor or change colours."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")


def milliseconds(seconds: float | None) -> str:
    """A duration for a table; "-" for none."""
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def brief(seconds: float) -> str:
    """A duration in three or four digits: 85 ms, 1.25 s, 41.2 s."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if abs(seconds) < 10 else f"{seconds:.1f} s"


def wrote(path: Path, seconds: float) -> Text:
    """That so much speech is in a file now."""
    return Text(f"Wrote {seconds:.1f} s of speech to {path}")


def breakdown(turn: Turn) -> Table:
    """Where the time of a turn went, from the end of the user's speech."""
    table = Table("since the end of speech", title_justify="left", title="Latency", box=box.SIMPLE_HEAD)
    table.add_column("at", justify="right")
    table.add_column("took", justify="right")
    for name, at_s, took_s in _rows(turn.timings or Timings()):
        table.add_row(name, milliseconds(at_s), milliseconds(took_s))
    table.add_section()
    table.add_row("first audio, as measured here", milliseconds(turn.first_audio_s), "")
    return table


def _rows(timings: Timings) -> Iterator[tuple[str, float | None, float | None]]:
    """Each step that happened: its name, when it was over, and how long it took after the one before."""
    before_s = 0.0
    for name, attribute in _STEPS:
        at_s: float | None = getattr(timings, attribute)
        if at_s is not None:
            yield name, at_s, at_s - before_s
            before_s = at_s
