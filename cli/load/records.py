"""What a load run leaves behind: one JSON object a line, each of a kind, in the order in which things happened."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO, TypeAlias

from cli.errors import CliError
from cli.load.plan import LoadPlan

FILE_NAME = "load.jsonl"
PAGE_NAME = "report.html"
"""The report beside it."""
ANSWERED = ("completed", "cancelled", "incomplete")
"""Outcomes of turns that were answered; a cancelled one was interrupted by its caller."""
UNANSWERED = "unanswered"
"""The outcome of a turn that nothing came back for."""
OK, STOPPED, ENDED, NO_ANSWER = "OK", "STOPPED", "ENDED", "NO_ANSWER"
"""How a session ended: all was said; cut short by whoever runs the test; by the server, although there was more to say;
by the caller, who was tired of waiting. Others end with the name of a gRPC status.
"""


@dataclass(frozen=True)
class RunBegan:
    """The first line.

    Attributes:
        began: the time of day, ISO 8601 in UTC.
        plan: see `LoadPlan`.
        file: name of the recording; `speech_s` is its length in seconds.
        client: the machine that the callers ran on.
    """

    kind: ClassVar[str] = "run"
    began: str
    target: str
    file: str
    speech_s: float
    plan: LoadPlan
    client: str = ""


@dataclass(frozen=True)
class SessionBegan:
    """A session is open, `took_s` after it was asked for; `at_s` counts from the run's beginning, as everywhere."""

    kind: ClassVar[str] = "session_began"
    at_s: float
    session: int
    took_s: float


@dataclass(frozen=True)
class TurnEnded:
    """What a caller said, and what came of it.

    Attributes:
        at_s: when the caller's speech had ended, as the server heard it.
        session, turn: numbers from 0.
        outcome: `completed`, `cancelled`, `incomplete` or `failed`, as the server calls it, or `unanswered`.
        response_s: from the end of speech to the first audio of the answer, measured here.
        stopped_s: of an interrupted answer, from the voice that interrupted it to the order to stop playing.
        steps: the server's `TurnTimings` by name, in seconds from the end of speech.
        response_id: as it is in the services' logs and traces.
        error: the reason where it failed.
    """

    kind: ClassVar[str] = "turn"
    at_s: float
    session: int
    turn: int
    outcome: str
    response_s: float | None = None
    stopped_s: float | None = None
    steps: dict[str, float] = field(default_factory=dict)
    response_id: str = ""
    error: str = ""


@dataclass(frozen=True)
class SessionEnded:
    """A session is over: how, see `OK`, and in words where it failed."""

    kind: ClassVar[str] = "session_ended"
    at_s: float
    session: int
    status: str
    message: str = ""


@dataclass(frozen=True)
class Punctuality:
    """How well the load generator kept time in the second before `at_s`.

    Attributes:
        loop_lag_s: how late its event loop was at most: above a few hundredths, its own figures are not to be trusted.
        frames: pieces of audio sent; `late` of them more than a frame's length after they were due.
    """

    kind: ClassVar[str] = "punctuality"
    at_s: float
    loop_lag_s: float
    frames: int
    late: int


@dataclass(frozen=True)
class RunEnded:
    """The last line: when, whether it was stopped before its end, and processor seconds of the load generator."""

    kind: ClassVar[str] = "run_ended"
    at_s: float
    stopped: bool
    cpu_s: float


Record: TypeAlias = RunBegan | SessionBegan | TurnEnded | SessionEnded | Punctuality | RunEnded
_KINDS: dict[str, type[Any]] = {
    kind.kind: kind for kind in (RunBegan, SessionBegan, TurnEnded, SessionEnded, Punctuality, RunEnded)
}


@dataclass(frozen=True)
class Run:
    """A load run's records. `ended` is None where the load generator did not live to see its end."""

    began: RunBegan
    records: tuple[Record, ...]

    @property
    def turns(self) -> list[TurnEnded]:
        """All turns, in the order in which they ended."""
        return [record for record in self.records if isinstance(record, TurnEnded)]

    @property
    def sessions_began(self) -> list[SessionBegan]:
        """All sessions that were opened."""
        return [record for record in self.records if isinstance(record, SessionBegan)]

    @property
    def sessions_ended(self) -> list[SessionEnded]:
        """All sessions that are over, those that never opened too."""
        return [record for record in self.records if isinstance(record, SessionEnded)]

    @property
    def punctuality(self) -> list[Punctuality]:
        """The load generator's own seconds."""
        return [record for record in self.records if isinstance(record, Punctuality)]

    @property
    def ended(self) -> RunEnded | None:
        """The end."""
        return next((record for record in self.records if isinstance(record, RunEnded)), None)

    @property
    def length_s(self) -> float:
        """From the beginning to the last record."""
        return max((record.at_s for record in self.records if not isinstance(record, RunBegan)), default=0.0)


def write(record: Record, file: TextIO) -> None:
    """Add a record; it is on disk when this returns, whatever becomes of the process."""
    file.write(json.dumps({"kind": record.kind, **asdict(record)}) + "\n")
    file.flush()


def read(path: Path) -> Run:
    """The records of a run, from its file or the folder that holds it.

    Raises:
        CliError: where there is no such file, or it is none of `parley load`.
    """
    path = path / FILE_NAME if path.is_dir() else path
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]  # what has no end was being written when the run broke off
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path}: {getattr(error, 'strerror', None) or 'is not a text file'}") from None
    records = list(_records(lines, path))
    if not records or not isinstance(records[0], RunBegan):
        raise CliError(f"{path}: is not what `parley load` writes")
    return Run(records[0], tuple(records))


def _records(lines: Iterable[str], path: Path) -> Iterable[Record]:
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            kind = _KINDS[values.pop("kind")]
            if kind is RunBegan:
                values["plan"] = LoadPlan(**values["plan"])
            yield kind(**values)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CliError(f"{path}: line {number} is not what `parley load` writes") from None
