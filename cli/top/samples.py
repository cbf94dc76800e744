"""What a service's metrics page says, and how two of its pages differ. Pure.

A page is Prometheus' text format; counters that have fallen were reset by a restart, and count from zero then, as in
Prometheus' own `rate`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Histogram:
    """Cumulative counts by upper bound, as Prometheus keeps them; the bound of all is infinity."""

    buckets: Mapping[float, float] = field(default_factory=dict)

    @property
    def count(self) -> float:
        """How many were observed."""
        return self.buckets.get(math.inf, 0.0)

    def quantile(self, rank: float) -> float | None:
        """The value below which a share of `rank` (0 to 1) lies; None where nothing was observed.

        Within a bucket values are taken to be spread evenly; beyond the last finite bound it is that bound. So does
        Prometheus: https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
        """
        bounds = sorted(self.buckets)
        if not self.count or len(bounds) < 2:
            return None
        wanted = rank * self.count
        number = next(number for number, bound in enumerate(bounds) if self.buckets[bound] >= wanted)
        if math.isinf(bounds[number]):
            return bounds[-2]
        low, below = (bounds[number - 1], self.buckets[bounds[number - 1]]) if number else (0.0, 0.0)
        here = self.buckets[bounds[number]] - below
        return low + (bounds[number] - low) * ((wanted - below) / here if here else 1.0)

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was observed after an earlier reading; everything, where the service has begun anew since."""
        if any(count < earlier.buckets.get(bound, 0.0) for bound, count in self.buckets.items()):
            return self
        return Histogram({bound: count - earlier.buckets.get(bound, 0.0) for bound, count in self.buckets.items()})

    def __add__(self, other: "Histogram") -> "Histogram":
        """Both together, as of two replicas."""
        bounds = {*self.buckets, *other.buckets}
        return Histogram({bound: self.buckets.get(bound, 0.0) + other.buckets.get(bound, 0.0) for bound in bounds})


class Page:
    """One reading of a service.

    Args:
        text: in Prometheus' text format.
        at_s: when it was read, on any clock that the other readings share.

    Raises:
        ValueError: where the text is something else.
    """

    def __init__(self, text: str, at_s: float) -> None:
        self.at_s = at_s
        self._samples: dict[str, dict[Labels, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 where there are none."""
        return sum(value for have, value in self._samples.get(name, {}).items() if labels.items() <= set(have))

    def label_sets(self, name: str) -> list[dict[str, str]]:
        """The labels of each of a metric's samples."""
        return [dict(labels) for labels in self._samples.get(name, {})]

    def histogram(self, name: str, **labels: str) -> Histogram:
        """A histogram's buckets, summed over its samples that have these labels."""
        buckets: dict[float, float] = {}
        for have, value in self._samples.get(f"{name}_bucket", {}).items():
            if labels.items() <= set(have):
                bound = float(dict(have)["le"])
                buckets[bound] = buckets.get(bound, 0.0) + value
        return Histogram(buckets)
