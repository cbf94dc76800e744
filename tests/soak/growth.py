"""Whether something grows. Pure.

Two tests, since each misses what the other sees. *Trend*: the least-squares line through what was measured under load,
without the first third, may rise by so much from its beginning to its end. *Rest*: with nobody there, a process has no
more than it had with nobody there before the faults began, but for a few that come and go.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEASURES = ("memory MB", "file descriptors", "tasks", "threads")
RISE = {"memory MB": (20.0, 0.15)}
"""How much the line may rise: so much, or such a share of its beginning, whatever is more."""
REST = {"file descriptors": 6, "tasks": 4, "threads": 3}
"""How many more there may be at rest. Tasks: a language model has 24, 26 or 28, whether there were faults or not, as it
seems by which of the two orchestrators have come to connect to it.
"""
WARM_UP = 1 / 3
LEAST_SAMPLES = 10


@dataclass(frozen=True)
class Sample:
    """What a process has, `at_s` seconds into the run; values in the order of `MEASURES`."""

    at_s: float
    values: tuple[float, ...]


def rising(samples: Sequence[Sample]) -> list[str]:
    """What rises by more than it may, of a process under load."""
    kept = samples[round(len(samples) * WARM_UP) :]
    if len(kept) < LEAST_SAMPLES:
        return []
    found = []
    for measure, (least, share) in RISE.items():
        times = np.array([sample.at_s for sample in kept])
        values = np.array([sample.values[MEASURES.index(measure)] for sample in kept])
        slope, start = np.polyfit(times - times[0], values, 1)
        rise = slope * (times[-1] - times[0])
        if rise > max(least, share * start):
            found.append(f"{measure} from {start:.0f} to {start + rise:.0f} in {times[-1] - times[0]:.0f} s")
    return found


def left_over(before: Sample, after: Sample) -> list[str]:
    """What a process has more of at rest than it had at rest before."""
    found = []
    for measure, slack in REST.items():
        at = MEASURES.index(measure)
        if after.values[at] > before.values[at] + slack:
            found.append(f"{measure} at rest: {before.values[at]:.0f} before, {after.values[at]:.0f} after")
    return found
