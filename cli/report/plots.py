"""Plots of turns, as SVG: where one turn's time went, how stages are spread, how turns ended."""

from collections.abc import Sequence

import numpy as np

from cli.load.records import TurnEnded
from cli.render import brief
from cli.report.markup import tag
from cli.report.summary import STAGE_TITLES, Spread, spread, stages_of
from cli.report.svg import Scale, hint, line, picture, seconds_axis, text, value_axis
from services.common.turn_stages import STAGES

WIDE, NARROW = 1000.0, 480.0
_BARS = 32
_STYLES = {title: f"stage-{number}" for number, title in enumerate(STAGE_TITLES.values(), start=1)}


def style_of(title: str) -> str:
    """The class that colours a stage, the same in every plot; that of the response for all else."""
    return _STYLES.get(title, "response")


def waterfall(turn: TurnEnded) -> str:
    """One turn: each stage begins where the one before it had ended, and the last ends with the first audio."""
    stages = stages_of(turn)
    heard_s = turn.response_s or 0.0
    row, left, right, top = 30.0, 168.0, NARROW - 64.0, 14.0
    bottom = top + row * (len(stages) + 1)
    scale = Scale(min(0.0, *turn.steps.values()), max(heard_s, sum(stages.values())), left, right)
    parts = [seconds_axis(scale, top, bottom, most=5), line(scale(0), top, scale(0), bottom, class_="axis-line")]
    parts.append(line(scale(heard_s), top, scale(heard_s), bottom, class_="mark"))
    reached_s = 0.0
    for number, (title, spent_s) in enumerate(stages.items()):
        y = top + row * number
        parts.append(text(left - 12, y + 20, title, class_="label", text_anchor="end"))
        parts.append(_bar(scale, reached_s, spent_s, y + 6, row - 12, title))
        reached_s += spent_s
        parts.append(_before_its_turn(scale, turn, title, reached_s, y + row / 2))
        parts.append(text(scale(reached_s) + 8, y + 20, f"+{brief(spent_s)}", class_="value"))
    y = top + row * len(stages)
    parts.append(text(left - 12, y + 20, "Heard by the caller", class_="label strong", text_anchor="end"))
    parts.append(text(scale(heard_s) - 8, y + 20, brief(heard_s), class_="value strong", text_anchor="end"))
    spoken = "; ".join(f"{title} {brief(spent)}" for title, spent in stages.items())
    return picture(NARROW, bottom + 26, f"A turn answered after {brief(heard_s)}: {spoken}", *parts)


def histogram(title: str, values: Sequence[float]) -> str:
    """How often each duration was met; what is far above the 99th percentile is in the last bar."""
    spread_ = spread(values)
    low, high = _span(min(values), spread_)
    counts, edges = np.histogram(np.clip(values, low, high), bins=_BARS, range=(low, high))
    left, right, top, bottom = 44.0, NARROW - 16.0, 34.0, 164.0
    across, up = Scale(low, high, left, right), Scale(0.0, float(counts.max()), bottom, top)
    parts = [value_axis(up, left, right, most=3), seconds_axis(across, bottom, bottom, most=5)]
    for count, begin, end in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            more = " and more" if end == edges[-1] and spread_.worst > high else ""
            words = hint(f"{brief(begin)} to {brief(end)}{more}: {count} turns")
            x, width = across(begin) + 1, max(1.0, across(end) - across(begin) - 2)
            style = f"bar {style_of(title)}"
            parts.append(tag("rect", words, x=x, y=up(count), width=width, height=bottom - up(count), class_=style))
    parts.append(line(left, bottom, right, bottom, class_="axis-line"))
    p50, _, p95, _ = spread_.percentiles
    for name, at in (("p50", p50), ("p95", p95)):
        parts.append(line(across(at), top - 6, across(at), bottom, class_=f"mark {name}"))
    words = f"median {brief(p50)} (line), p95 {brief(p95)} (dashed)"
    parts.append(text(left, 14, words, class_="axis"))
    label = f"{title}, {len(values)} turns: half within {brief(p50)}, 95 of 100 within {brief(p95)}"
    return picture(NARROW, bottom + 26, label, *parts)


def outcomes(counted: dict[str, int]) -> str:
    """The turns by outcome, as parts of one bar with their numbers below."""
    top, height = 4.0, 22.0
    total, done, parts = sum(counted.values()), 0, []
    scale = Scale(0.0, float(total), 0.0, WIDE)
    for outcome, count in counted.items():
        x, end = scale(done), scale(done + count)
        style, words = f"outcome {outcome}", f"{count:,} {outcome} ({count / total:.1%})"
        width = max(1.5, end - x - 2)
        parts.append(tag("rect", hint(words), x=x, y=top, width=width, height=height, rx=3, class_=style))
        done += count
    label = "Turns by outcome: " + ", ".join(f"{count} {outcome}" for outcome, count in counted.items())
    return picture(WIDE, top + height + 4, label, *parts)


def _bar(scale: Scale, begin_s: float, spent_s: float, y: float, height: float, title: str) -> str:
    words = f"{title}: {brief(spent_s)}, from {brief(begin_s)} to {brief(begin_s + spent_s)}"
    width = max(1.5, scale(begin_s + spent_s) - scale(begin_s))
    style = f"bar {style_of(title)}"
    return tag("rect", hint(words), x=scale(begin_s), y=y, width=width, height=height, rx=2, class_=style)


def _before_its_turn(scale: Scale, turn: TurnEnded, title: str, reached_s: float, y: float) -> str:
    """A ring where a step was taken before those ahead of it were over, as it is in answers begun at a pause."""
    stage = next(stage for stage, name in STAGE_TITLES.items() if name == title)
    at_s = turn.steps.get(STAGES[stage])
    if at_s is None or at_s >= reached_s - 0.001:
        return ""
    words = f"{title} was done at {brief(at_s)} already: the answer was begun at a pause"
    return tag("circle", hint(words), cx=scale(at_s), cy=y, r=4.5, class_=f"early {style_of(title)}")


def _span(least: float, spread_: Spread) -> tuple[float, float]:
    """From where to where a histogram goes: from zero, unless all values are far above it."""
    high = min(spread_.worst, spread_.percentiles[-1] * 1.25) or 0.001
    low = least - 0.2 * (high - least) if least > high / 2 else 0.0
    return (low, high) if high > low else (high / 2, high)
