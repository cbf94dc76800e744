"""What the services' pages say together: gauges now, rates and percentiles between two readings. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cli.top.samples import Histogram, Page
from cli.top.watch import Endpoint

NO_ERRORS = ("OK", "CANCELLED")


@dataclass(frozen=True)
class Quantiles:
    """Percentiles of a histogram; `recent` is false where nothing was observed lately: then they are of all time."""

    p50: float | None
    p95: float | None
    count: float
    recent: bool


class Figures:
    """Sums over all programs that are up. Metrics have names of their own in each service, so no service is named."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._up = [(endpoint.now, endpoint.before) for endpoint in endpoints if endpoint.now is not None]

    @property
    def span_s(self) -> float:
        """The time that rates are of: the longest between two readings."""
        return max((now.at_s - before.at_s for now, before in self._up if before is not None), default=0.0)

    def gauge(self, name: str) -> float:
        """What a metric is now."""
        return sum(now.total(name) for now, _ in self._up)

    def rate(self, name: str, **labels: str) -> float | None:
        """How much a counter rises in a second; None until there are two readings."""
        rates = [
            _rise(now, before, name, labels) / (now.at_s - before.at_s)
            for now, before in self._up
            if before is not None
        ]
        return sum(rates) if rates else None

    def quantiles(self, name: str, **labels: str) -> Quantiles:
        """Median and 95th percentile of a histogram."""
        ever, lately = Histogram(), Histogram()
        for now, before in self._up:
            histogram = now.histogram(name, **labels)
            ever += histogram
            if before is not None:
                lately += histogram.since(before.histogram(name, **labels))
        shown = lately if lately.count else ever
        return Quantiles(shown.quantile(0.5), shown.quantile(0.95), shown.count, bool(lately.count))

    def errors(self) -> list[tuple[str, str, float, float | None]]:
        """Calls that failed, the most first: method, status, how many, and how many a second lately."""
        name = "parley_rpc_server_duration_seconds_count"
        keys = {
            (labels["method"], labels["code"])
            for now, _ in self._up
            for labels in now.label_sets(name)
            if labels["code"] not in NO_ERRORS
        }
        totals = Counter({key: sum(n.total(name, method=key[0], code=key[1]) for n, _ in self._up) for key in keys})
        return [
            (method.rpartition("/")[2], code, count, self.rate(name, method=method, code=code))
            for (method, code), count in totals.most_common()
        ]

    def each(self) -> "Iterator[tuple[Endpoint, Figures]]":
        """Each program, with its own figures."""
        for endpoint in self.endpoints:
            yield endpoint, Figures([endpoint])


def _rise(now: Page, before: Page, name: str, labels: dict[str, str]) -> float:
    """What a counter has gained; a service that has begun anew counts from zero."""
    value, earlier = now.total(name, **labels), before.total(name, **labels)
    return value - earlier if value >= earlier else value
