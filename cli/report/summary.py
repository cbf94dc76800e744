"""What a load run amounts to. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from cli.load.records import ANSWERED, OK, STOPPED, Run, TurnEnded
from cli.pacing import FRAME_S
from services.common.turn_stages import STAGES, stage_seconds

PERCENTILES = (50, 90, 95, 99)
STAGE_TITLES = {
    "endpointing": "End of speech decided",
    "transcription": "Transcription",
    "language_model": "Language model",
    "segmentation": "First segment",
    "synthesis": "Speech synthesis",
}
RESPONSE_TITLE = "Response, at the caller"
LATE_LOOP_S = 0.05
"""A load generator whose event loop is later than this, in one second of twenty, measures itself."""
LATE_FRAMES = 0.01
"""The share of audio that may be late before it is worth a word."""


@dataclass(frozen=True)
class Spread:
    """How some durations are spread, in seconds; `percentiles` are those of PERCENTILES, in that order."""

    count: int
    percentiles: tuple[float, ...]
    worst: float


@dataclass(frozen=True)
class Summary:
    """The figures of a run.

    Attributes:
        spreads: of the response, its stages and the rest, by title, in the order of a turn; without those that never
            happened.
        answered: turns whose answer was heard.
        outcomes: turns by outcome.
        errors: sessions that failed and turns that the server reported, by status or reason.
        messages: what was said of some of them, in words.
        most_sessions: open at the same time.
        turns_a_minute: that were answered.
        notices: what to know before the figures are believed, in sentences.
        cpu: cores that the load generator used on average; None where it did not live to tell.
    """

    spreads: dict[str, Spread]
    answered: int
    outcomes: dict[str, int]
    errors: dict[str, int]
    messages: dict[str, str]
    most_sessions: int
    turns_a_minute: float
    notices: tuple[str, ...]
    cpu: float | None


def summarize(run: Run) -> Summary:
    """The figures of a run."""
    answered = answered_turns(run)
    ended = run.ended
    return Summary(
        spreads=_spreads(run, answered),
        answered=len(answered),
        outcomes=dict(Counter(turn.outcome for turn in run.turns).most_common()),
        errors=dict(_errors(run).most_common()),
        messages={session.status: session.message for session in run.sessions_ended if session.message},
        most_sessions=max((count for _, count in open_sessions(run)), default=0),
        turns_a_minute=60 * len(answered) / run.length_s if run.length_s else 0.0,
        notices=tuple(_notices(run)),
        cpu=ended.cpu_s / ended.at_s if ended is not None and ended.at_s else None,
    )


def answered_turns(run: Run) -> list[TurnEnded]:
    """The turns whose answer was heard; an apology is none."""
    return [turn for turn in run.turns if turn.outcome in ANSWERED and turn.response_s is not None]


def stages_of(turn: TurnEnded) -> dict[str, float]:
    """Seconds that each stage added, by its title; they add up to the server's wait for the first audio."""
    return {STAGE_TITLES[stage]: spent for stage, spent in stage_seconds(turn.steps).items()}


def spread(seconds: Sequence[float]) -> Spread:
    """Percentiles by linear interpolation between the values that are nearest (Hyndman and Fan's type 7)."""
    return Spread(len(seconds), tuple(float(value) for value in np.percentile(seconds, PERCENTILES)), max(seconds))


def median_turn(turns: Sequence[TurnEnded]) -> TurnEnded:
    """The turn in the middle, by response."""
    return _by_response(turns)[(len(turns) - 1) // 2]


def worst_turn(turns: Sequence[TurnEnded]) -> TurnEnded:
    """The turn that was waited for the longest."""
    return _by_response(turns)[-1]


def open_sessions(run: Run) -> list[tuple[float, int]]:
    """When the number of open sessions changed, and to what."""
    opened = {record.session for record in run.sessions_began}
    changes = [(record.at_s, 1) for record in run.sessions_began]
    changes += [(record.at_s, -1) for record in run.sessions_ended if record.session in opened]
    changes.sort()
    return list(zip((at_s for at_s, _ in changes), accumulate(change for _, change in changes), strict=True))


def _by_response(turns: Sequence[TurnEnded]) -> list[TurnEnded]:
    return sorted(turns, key=lambda turn: turn.response_s or 0.0)


def _spreads(run: Run, answered: Sequence[TurnEnded]) -> dict[str, Spread]:
    stages = [stages_of(turn) for turn in answered]
    columns: dict[str, Iterable[float | None]] = {
        RESPONSE_TITLE: (turn.response_s for turn in answered),
        "Response, at the server": (turn.steps.get(STAGES["synthesis"]) for turn in answered),
        **{title: [spent.get(title) for spent in stages] for title in STAGE_TITLES.values()},
        "Interruption to stop": (turn.stopped_s for turn in run.turns),
        "Opening a session": (session.took_s for session in run.sessions_began),
    }
    kept = {title: [value for value in values if value is not None] for title, values in columns.items()}
    return {title: spread(values) for title, values in kept.items() if values}


def _errors(run: Run) -> Counter[str]:
    failed = (session.status for session in run.sessions_ended if session.status not in (OK, STOPPED))
    return Counter(failed) + Counter(turn.error for turn in run.turns if turn.error)


def _notices(run: Run) -> Iterator[str]:
    if run.ended is None:
        yield "The load generator ended before the run did; what it had written by then is here."
    elif run.ended.stopped:
        yield "The run was stopped before its end."
    if not (seconds := run.punctuality):
        return
    lag_s = float(np.percentile([second.loop_lag_s for second in seconds], 95))
    on_time = [second for second in seconds if second.loop_lag_s <= FRAME_S]
    late = sum(second.late for second in on_time) / max(1, sum(second.frames for second in on_time))
    if lag_s > LATE_LOOP_S:
        yield (
            f"The load generator itself was late: its event loop by {lag_s * 1000:.0f} ms (95th percentile of its "
            "seconds), and what it measured includes that. Use fewer sessions, or several load generators on machines "
            "of their own."
        )
    elif late > LATE_FRAMES:
        yield (
            f"{late:.1%} of the audio went out more than {FRAME_S * 1000:.0f} ms late although the load generator was "
            "on time: the network or the orchestrator does not take it as fast as people speak."
        )
