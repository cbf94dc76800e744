"""Shows a load run while it happens: a few lines drawn anew on a terminal, a line now and then elsewhere."""

import time
from collections import Counter, deque
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.load.plan import LoadPlan
from cli.load.records import OK, STOPPED, Punctuality, Record, RunEnded, SessionBegan, SessionEnded, TurnEnded
from cli.render import brief
from cli.report.summary import LATE_LOOP_S

LATEST_ANSWERS = 100
"""The percentiles shown are those of so many answers."""
_REFRESH_HZ = 4
_LINE_EVERY_S = 5.0
_BAR_WIDTH = 40


class Progress:
    """Use as a context around a run; `take` every record."""

    def __init__(self, plan: LoadPlan, console: Console) -> None:
        self._plan, self._console = plan, console
        self._live = Live(self, console=console, refresh_per_second=_REFRESH_HZ) if console.is_terminal else None
        self._begun = self._printed_at = time.monotonic()
        self._open: dict[int, int] = {}
        """Turns so far of each session that is open."""
        self._ended = 0
        self._outcomes: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._responses: deque[float] = deque(maxlen=LATEST_ANSWERS)
        self._lag_s = 0.0

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def take(self, record: Record) -> None:
        """Something has happened."""
        match record:
            case SessionBegan():
                self._open[record.session] = 0
            case TurnEnded():
                self._open[record.session] = self._open.get(record.session, 0) + 1
                self._outcomes[record.outcome] += 1
                self._errors.update([record.error] if record.error else [])
                if record.response_s is not None:
                    self._responses.append(record.response_s)
            case SessionEnded():
                self._open.pop(record.session, None)
                self._ended += 1
                self._errors.update([record.status] if record.status not in (OK, STOPPED) else [])
            case Punctuality():
                self._lag_s = record.loop_lag_s
                if self._live is None and time.monotonic() - self._printed_at >= _LINE_EVERY_S:
                    self._print_line()
            case RunEnded():
                if self._live is None:
                    self._print_line()
            case _:
                pass

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row(f"{time.monotonic() - self._begun:.0f} s", self._bar())
        for name, text in self._rows().items():
            table.add_row(Text(name, style="dim"), text)
        return table

    def _bar(self) -> Table:
        total = self._plan.sessions * self._plan.turns
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total, self._done(), width=_BAR_WIDTH), f"{self._done():,.0f} of {total:,} turns said and over"
        )
        return bar

    def _done(self) -> int:
        """Turns of the plan that are over. A pause in the recording may make two turns of one, which count as one."""
        return self._ended * self._plan.turns + sum(min(turns, self._plan.turns) for turns in self._open.values())

    def _rows(self) -> dict[str, str | Text]:
        late = self._lag_s > LATE_LOOP_S
        rows: dict[str, str | Text] = {
            "sessions": f"{len(self._open)} open, {self._plan.sessions - len(self._open) - self._ended} to come, "
            f"{self._ended} over",
            "turns": _counts(self._outcomes) or "-",
            "response": self._percentiles(),
            "this client": Text(f"late by {brief(self._lag_s)}", "yellow") if late else "on time",
        }
        if self._errors:
            rows["errors"] = Text(_counts(self._errors), "red")
        return rows

    def _percentiles(self) -> str:
        if not self._responses:
            return "-"
        p50, p95 = np.percentile(self._responses, (50, 95))
        return f"p50 {brief(p50)}, p95 {brief(p95)} of the last {len(self._responses)} answers"

    def _print_line(self) -> None:
        self._printed_at = time.monotonic()
        rows = ", ".join(f"{name}: {text}" for name, text in self._rows().items())
        self._console.print(Text(f"{self._printed_at - self._begun:.0f} s  {rows}"), soft_wrap=True)


def _counts(counted: "Counter[str]") -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counted.most_common())
