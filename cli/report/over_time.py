"""Plots over the time of a run, as SVG: responses, open sessions, and the load generator's own lag."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cli.load.records import Run, TurnEnded
from cli.render import brief
from cli.report.markup import tag
from cli.report.plots import WIDE
from cli.report.summary import open_sessions
from cli.report.svg import Scale, hint, line, picture, seconds_axis, text, value_axis

RANKS = (50, 95, 99)
_LEFT, _RIGHT = 64.0, WIDE - 64.0
_MOST_SPANS = 40
_ANSWERS_IN_A_SPAN = 4
_MOST_DOTS = 4000
_NAME_HEIGHT = 14.0


@dataclass(frozen=True)
class Span:
    """The answers of a span of time around `at_s`; `percentiles` are those of RANKS, in seconds."""

    at_s: float
    count: int
    percentiles: tuple[float, ...]


def spans(answered: Sequence[TurnEnded], length_s: float) -> list[Span]:
    """Spans of equal length that hold answers: as many as there are enough answers for."""
    many = min(_MOST_SPANS, max(1, len(answered) // _ANSWERS_IN_A_SPAN))
    each_s = length_s / many
    held: dict[int, list[float]] = {}
    for turn in answered:
        held.setdefault(min(many - 1, math.floor(turn.at_s / each_s)), []).append(turn.response_s or 0.0)
    return [
        Span((number + 0.5) * each_s, len(held[number]), tuple(map(float, np.percentile(held[number], RANKS))))
        for number in sorted(held)
    ]


def responses(run: Run, answered: Sequence[TurnEnded]) -> str:
    """Each answer as a dot, turns without one as ticks, and percentiles of the answers of each span."""
    top, bottom = 12.0, 252.0
    worst_s = max(turn.response_s or 0.0 for turn in answered)
    across, up = Scale(0.0, run.length_s, _LEFT, _RIGHT), Scale(0.0, worst_s * 1.05, bottom, top)
    parts = [value_axis(up, _LEFT, _RIGHT, " s", most=5), seconds_axis(across, bottom, bottom, most=10)]
    for turn in answered[:: len(answered) // _MOST_DOTS + 1]:
        words = f"session {turn.session}, turn {turn.turn}: {brief(turn.response_s or 0.0)}"
        parts.append(
            tag("circle", hint(words), cx=across(turn.at_s), cy=up(turn.response_s or 0.0), r=2.5, class_="dot")
        )
    for turn in run.turns:
        if turn.response_s is None:
            words = f"session {turn.session}, turn {turn.turn}: {turn.outcome} {turn.error}"
            x = across(turn.at_s)
            parts.append(tag("line", hint(words), x1=x, y1=bottom - 9, x2=x, y2=bottom, class_="failure"))
    in_time = spans(answered, run.length_s)
    lowest = math.inf
    for number, rank in enumerate(RANKS):
        points = [(across(span.at_s), up(span.percentiles[number])) for span in in_time]
        parts.append(tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=f"curve p{rank}"))
        for span, (x, y) in zip(in_time, points, strict=True):
            words = f"p{rank} {brief(span.percentiles[number])} of {span.count} answers around {span.at_s:.0f} s"
            parts.append(tag("circle", hint(words), cx=x, cy=y, r=3.5, class_=f"point p{rank}"))
        lowest = min(points[-1][1] + 4, lowest - _NAME_HEIGHT)  # names do not cover each other
        parts.append(text(points[-1][0] + 10, lowest, f"p{rank}", class_="value"))
    parts.append(line(_LEFT, bottom, _RIGHT, bottom, class_="axis-line"))
    label = f"Response over {run.length_s:.0f} s: " + "; ".join(
        f"around {span.at_s:.0f} s p50 {brief(span.percentiles[0])}, p95 {brief(span.percentiles[1])}"
        for span in in_time[:: len(in_time) // 5 + 1]
    )
    return picture(WIDE, bottom + 26, label, *parts)


def sessions(run: Run) -> str:
    """How many sessions were open."""
    changes = open_sessions(run)
    points = [(0.0, 0.0)]
    for at_s, count in changes:
        points += [(at_s, points[-1][1]), (at_s, float(count))]
    points.append((run.length_s, points[-1][1]))
    most = max((count for _, count in changes), default=0)
    return _area(run, points, f"Open sessions over {run.length_s:.0f} s, {most} at most", "area")


def lag(run: Run) -> str:
    """How late the load generator was, in milliseconds; there must be records of that."""
    points = [(second.at_s, second.loop_lag_s * 1000) for second in run.punctuality]
    most = max(value for _, value in points)
    return _area(run, points, f"Lag of the load generator in milliseconds, {most:.0f} at most", "area lag")


def _area(run: Run, points: Sequence[tuple[float, float]], label: str, style: str) -> str:
    top, bottom = 10.0, 84.0
    across, up = Scale(0.0, run.length_s, _LEFT, _RIGHT), Scale(0.0, max(1.0, *(y for _, y in points)), bottom, top)
    outline = [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]
    path = tag("polygon", points=" ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in outline), class_=style)
    axes = [value_axis(up, _LEFT, _RIGHT, most=3), seconds_axis(across, bottom, bottom, most=10)]
    return picture(WIDE, bottom + 26, label, *axes, path, line(_LEFT, bottom, _RIGHT, bottom, class_="axis-line"))
