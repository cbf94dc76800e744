"""The metrics of our own give the page that those of prometheus_client give."""

from types import ModuleType

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.openmetrics import exposition

from services.common import instruments
from services.common.instruments import Counter, Gauge, Histogram

AMOUNTS = st.floats(0, 20) | st.sampled_from([0.005, 0.1, 1.0, 10.0])
BOUNDS = (0.005, 0.1, 1.0, 10.0)
EVENTS = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", 'b "quoted"\n']), AMOUNTS))

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, that ours do not have


def _counted(kinds: ModuleType, events: list[tuple[int, str, float]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    total = kinds.Counter("plain_total", "Counted.", registry=registry)
    by_kind = kinds.Counter("labelled_total", "Counted by kind.", ("kind",), registry=registry)
    level = kinds.Gauge("level", "So much now.", ("kind", "of"), registry=registry)
    span = kinds.Histogram("span_seconds", "Took so long.", buckets=BOUNDS, registry=registry)
    by_method = kinds.Histogram("calls_seconds", "Took so long.", ("method",), buckets=BOUNDS, registry=registry)
    kinds.Gauge("asked", "Asked for.", registry=registry).set_function(lambda: len(events))
    for number, label, amount in events:
        record = (
            total.inc,
            by_kind.labels(label).inc,
            level.labels(label, "x").inc,
            span.observe,
            by_method.labels(label).observe,
        )
        record[number](amount)
        level.labels(label, "x").dec()
        level.labels("set", label).set(amount)
    return registry


@given(EVENTS)
def test_the_page_is_that_of_prometheus_client(events: list[tuple[int, str, float]]) -> None:
    ours, theirs = _counted(instruments, events), _counted(prometheus_client, events)
    for page in (generate_latest, exposition.generate_latest):
        assert page(ours) == page(theirs)


def test_a_name_is_registered_once() -> None:
    registry = CollectorRegistry()
    Counter("twice_total", "Counted.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("twice_total", "Counted.", registry=registry)


def test_labels_must_be_as_many_as_their_names() -> None:
    histogram = Histogram("calls_seconds", "Took so long.", ("method",), buckets=BOUNDS, registry=CollectorRegistry())
    with pytest.raises(ValueError, match="calls_seconds has the labels"):
        histogram.labels("a", "b")
