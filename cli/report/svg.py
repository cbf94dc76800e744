"""What plots are made of: lines, texts, scales and axes. Colours are the page's."""

import math
from dataclasses import dataclass
from html import escape

from cli.report.markup import tag

TEXT_GAP = 8.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def text(x: float, y: float, content: str, **attributes: object) -> str:
    """A line of text."""
    return tag("text", escape(content), x=x, y=y, **attributes)


def hint(content: str) -> str:
    """What is shown for the element around it when the mouse is on it."""
    return tag("title", escape(content))


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def picture(width: float, height: float, label: str, *children: str) -> str:
    """A whole plot; `label` says in words what it shows, to those who do not see it."""
    return tag(
        "svg", *children, viewBox=f"0 0 {width:g} {height:g}", width=width, height=height, role="img", aria_label=label
    )


@dataclass(frozen=True)
class Scale:
    """A straight line from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is."""
        return self.start + (value - self.low) / (self.high - self.low or 1.0) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most so many round values within the scale."""
        span = (self.high - self.low) or 1.0
        unit = 10.0 ** math.floor(math.log10(span / most))
        step = next(unit * step for step in (*_STEPS, 20.0) if span / (unit * step) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def seconds_axis(scale: Scale, top: float, bottom: float, *, most: int = 5) -> str:
    """Vertical grid lines at round times, with the times below."""
    marks = []
    for value in scale.ticks(most):
        x = scale(value)
        marks.append(line(x, top, x, bottom, class_="grid"))
        marks.append(text(x, bottom + 16, _tick(value, scale.high), class_="axis", text_anchor="middle"))
    return tag("g", *marks)


def value_axis(scale: Scale, left: float, right: float, unit: str = "", *, most: int = 4) -> str:
    """Horizontal grid lines at round values, with the values to the left."""
    marks = []
    for value in scale.ticks(most):
        y = scale(value)
        marks.append(line(left, y, right, y, class_="grid"))
        marks.append(text(left - TEXT_GAP, y + 4, f"{value:g}{unit}", class_="axis", text_anchor="end"))
    return tag("g", *marks)


def _tick(seconds: float, high: float) -> str:
    if not seconds:
        return "0"
    return f"{seconds:g} s" if high >= 1 else f"{seconds * 1000:g} ms"
