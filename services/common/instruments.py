"""Counters, gauges and histograms of a program whose events are all counted by its event loop.

They are plain numbers until prometheus_client asks for a page. Its own lock at every count, check every call and walk
through the buckets, which cost a turn 5 % (decision 033); names and use are the same. Reading is safe from any thread.
"""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Self

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Instrument(Collector):
    """A metric, or with `label_names` the parent of one for each combination of labels that was asked for."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: Sequence[str] = (),
        *,
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self.name, self.documentation, self.label_names = name, documentation, tuple(label_names)
        self._children: dict[tuple[str, ...], Any] = {} if label_names else {(): self}
        if registry is not None:
            registry.register(self)

    def labels(self, *values: str) -> Self:
        """The metric with these values of the labels, in the order of their names."""
        child: Self | None = self._children.get(values)
        if child is None:
            if len(values) != len(self.label_names):
                raise ValueError(f"{self.name} has the labels {self.label_names}")
            child = self._children[values] = self._child()
        return child

    def describe(self) -> Iterator[Any]:
        """The metric without values, as prometheus_client asks for it at registration."""
        yield self._family()

    def collect(self) -> Iterator[Any]:
        """The metric with its values."""
        family = self._family()
        for values, child in self._children.copy().items():  # whoever reads does so in another thread
            child._add_to(family, values)
        yield family

    def _child(self) -> Self:
        return type(self)(self.name, self.documentation, registry=None)

    @abstractmethod
    def _family(self) -> Any: ...

    @abstractmethod
    def _add_to(self, family: Any, values: tuple[str, ...]) -> None: ...


class Counter(Instrument):
    """Something that only grows. Its name ends with `_total`."""

    _value = 0.0

    def inc(self, amount: float = 1) -> None:
        """So much more."""
        self._value += amount

    def _family(self) -> Any:
        return CounterMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _add_to(self, family: Any, values: tuple[str, ...]) -> None:
        family.add_metric(values, self._value)


class Gauge(Instrument):
    """Something that is so much now."""

    _value = 0.0
    _ask: Callable[[], float] | None = None

    def inc(self, amount: float = 1) -> None:
        """So much more."""
        self._value += amount

    def dec(self, amount: float = 1) -> None:
        """So much less."""
        self._value -= amount

    def set(self, value: float) -> None:
        """So much."""
        self._value = value

    def set_function(self, ask: Callable[[], float]) -> None:
        """As much as this says whenever the metric is read."""
        self._ask = ask

    def _family(self) -> Any:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _add_to(self, family: Any, values: tuple[str, ...]) -> None:
        family.add_metric(values, self._value if self._ask is None else float(self._ask()))


class Histogram(Instrument):
    """How much something was each time, by the upper bounds of buckets; that of the rest is added."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry | None = REGISTRY,
    ) -> None:
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        super().__init__(name, documentation, label_names, registry=registry)

    def observe(self, amount: float) -> None:
        """It was so much."""
        self._sum += amount
        self._counts[bisect_left(self._bounds, amount)] += 1

    def _child(self) -> Self:
        return type(self)(self.name, self.documentation, buckets=self._bounds, registry=None)

    def _family(self) -> Any:
        return HistogramMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _add_to(self, family: Any, values: tuple[str, ...]) -> None:
        bounds = (*self._bounds, float("inf"))
        names = (floatToGoString(bound) for bound in bounds)  # type: ignore[no-untyped-call]
        family.add_metric(values, list(zip(names, accumulate(self._counts), strict=True)), self._sum)
