"""What `parley top` makes of metrics pages."""

import io
import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from rich.console import Console

from cli.top.figures import Figures
from cli.top.samples import Histogram as Buckets
from cli.top.samples import Page
from cli.top.view import frame
from cli.top.watch import Endpoint
from orchestrator.domain import ResponseStatus, TurnTimings
from orchestrator.metrics import TurnMetrics
from services.common.metrics import ServerMetrics
from services.llm.metrics import GenerationMetrics

CALL = "/parley.agent.v1.VoiceAgentService/Converse"


def page(registry: CollectorRegistry, at_s: float = 0.0) -> Page:
    return Page(generate_latest(registry).decode(), at_s)


def buckets(*values: float, bounds: tuple[float, ...] = (0.1, 0.5, 1.0)) -> Buckets:
    """What a histogram with these bounds keeps of some values."""
    counts = {bound: float(sum(value <= bound for value in values)) for bound in (*bounds, math.inf)}
    return Buckets(counts)


@pytest.mark.parametrize(
    ("values", "rank", "expected"),
    [
        ((0.2, 0.3, 0.4, 0.45), 0.5, 0.3),  # half of the four in the bucket from 0.1 to 0.5
        ((0.05,), 0.5, 0.05),  # the first bucket begins at zero
        ((0.05, 0.7), 0.75, 0.75),
        ((0.05, 0.7), 0.5, 0.1),  # exactly at a bound
        ((2.0, 3.0), 0.5, 1.0),  # beyond the last bound: that bound
        ((), 0.5, None),
    ],
)
def test_a_quantile_is_the_one_that_prometheus_computes(
    values: tuple[float, ...], rank: float, expected: float | None
) -> None:
    found = buckets(*values).quantile(rank)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_page_without_such_a_histogram_has_no_quantile() -> None:
    assert Buckets().quantile(0.5) is None


def test_replicas_are_added_even_where_one_has_nothing() -> None:
    both = buckets(0.2) + buckets(0.7, 0.8) + Buckets()
    assert both == buckets(0.2, 0.7, 0.8)


def test_what_was_observed_since_another_reading() -> None:
    assert buckets(0.2, 0.7).since(buckets(0.2)) == buckets(0.7)
    assert buckets(0.7).since(buckets(0.2, 0.2)) == buckets(0.7), "a service that has begun anew"
    assert buckets(0.7).since(Buckets()) == buckets(0.7)


def test_samples_are_summed_by_their_labels() -> None:
    registry = CollectorRegistry()
    tokens = Counter("tokens", "", ("type", "model"), registry=registry)
    tokens.labels("input", "a").inc(2)
    tokens.labels("input", "b").inc(3)
    tokens.labels("output", "a").inc(7)
    found = page(registry)
    assert (found.total("tokens_total"), found.total("tokens_total", type="input")) == (12, 5)
    assert found.total("nothing") == 0
    assert {"type": "output", "model": "a"} in found.label_sets("tokens_total")


def test_another_page_is_refused() -> None:
    with pytest.raises(ValueError, match=r".*"):
        Page("<html> not metrics", 0.0)


def test_rates_are_of_two_readings_and_survive_a_restart() -> None:
    registry = CollectorRegistry()
    done = Counter("done", "", registry=registry)
    done.inc(10)
    first = page(registry, 100.0)
    done.inc(30)
    second = page(registry, 110.0)
    assert Figures([Endpoint("a", "llm", second, first)]).rate("done_total") == pytest.approx(3.0)
    assert Figures([Endpoint("a", "llm", second, None)]).rate("done_total") is None
    both = Figures([Endpoint("a", "llm", second, first), Endpoint("b", "llm", second, first)])
    assert both.rate("done_total") == pytest.approx(6.0)
    after_restart = Figures([Endpoint("a", "llm", Page(generate_latest(registry).decode(), 120.0), second)])
    assert after_restart.rate("done_total") == 0.0
    fresh = CollectorRegistry()
    Counter("done", "", registry=fresh).inc(5)
    assert Figures([Endpoint("a", "llm", page(fresh, 120.0), second)]).rate("done_total") == pytest.approx(0.5)


def test_percentiles_are_recent_ones_or_those_of_all_time() -> None:
    registry = CollectorRegistry()
    spent = Histogram("spent", "", buckets=(0.1, 0.5, 1.0), registry=registry)
    spent.observe(0.05)
    first = page(registry, 0.0)
    quiet = Figures([Endpoint("a", "tts", page(registry, 5.0), first)]).quantiles("spent")
    assert (quiet.recent, quiet.count) == (False, 1)
    spent.observe(0.7)
    lately = Figures([Endpoint("a", "tts", page(registry, 10.0), first)]).quantiles("spent")
    assert (lately.recent, lately.count) == (True, 1)
    assert lately.p50 == pytest.approx(0.75)


def drawn(*endpoints: Endpoint, width: int = 100, height: int | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(frame(Figures(endpoints), height))
    return out.getvalue()


def line(text: str, begin: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.strip().startswith(begin))


def test_a_frame_of_metrics_as_the_programs_write_them() -> None:
    registry = CollectorRegistry()
    server, turns = ServerMetrics("llm", registry), TurnMetrics(registry)
    GenerationMetrics(registry)
    first = page(registry, 0.0)
    for _ in range(20):
        turns.responded(ResponseStatus.COMPLETED, TurnTimings(0.3, 0.4, 0.53, 0.6, 0.7, 2.0))
    server.call_started(CALL)
    server.call_ended(CALL, "UNAVAILABLE", 0.1)
    server.call_started(CALL)
    server.call_ended(CALL, "CANCELLED", 0.1)
    Gauge("process_resident_memory_bytes", "", registry=registry).set(5e7)
    text = drawn(Endpoint("127.0.0.1:9464", "llm", page(registry, 10.0), first))
    assert line(text, "llm")[:3] == ["llm", "127.0.0.1:9464", "up"]
    assert "50 MB" in text
    assert line(text, "Response")[-1] == "20"
    assert line(text, "Language model")[2:6] == ["125", "ms", "148", "ms"]
    assert "120 completed" in text
    assert line(text, "Converse") == ["Converse", "UNAVAILABLE", "1", "0.1"]
    assert "CANCELLED" not in text


def test_answers_begun_at_a_pause_are_shown_by_what_became_of_them() -> None:
    registry = CollectorRegistry()
    ServerMetrics("orchestrator", registry)
    turns = TurnMetrics(registry)
    first = page(registry, 0.0)
    quiet = drawn(Endpoint("a:1", "orchestrator", page(registry, 6.0), first))
    assert line(quiet, "begun at a pause")[4:] == ["0"]
    turns.confirmed(0.3)
    turns.confirmed(0.3)
    turns.discarded("Hello.", 1.0)
    text = drawn(Endpoint("a:1", "orchestrator", page(registry, 60.0), first))
    assert line(text, "begun at a pause")[4:] == ["2", "confirmed,", "1", "discarded"]


def test_programs_that_are_down_are_shown_as_such() -> None:
    text = drawn(Endpoint("127.0.0.1:9464", "orchestrator", error="connection refused"), Endpoint("h:1", error="gone"))
    assert line(text, "orchestrator")[:3] == ["orchestrator", "127.0.0.1:9464", "down"]
    assert "orchestrator: connection refused" in text
    assert "h:1: gone" in text
    assert "tokens" not in text


def busy(programs: int) -> list[Endpoint]:
    """Programs that all have had two kinds of failed calls."""
    registry = CollectorRegistry()
    server = ServerMetrics("llm", registry)
    TurnMetrics(registry)
    for code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED"):
        server.call_started(CALL)
        server.call_ended(CALL, code, 0.1)
    return [Endpoint(f"h:{number}", "llm", page(registry, 10.0)) for number in range(programs)]


EVERY_ROW = (
    "Response",
    "Speech synthesis",
    "sessions",
    "text to speech",
    "first token",
    "real-time factor",
    "Converse",
)


def rows_shown(text: str) -> list[str]:
    return [name for name in EVERY_ROW if any(row.strip().startswith(name) for row in text.splitlines())]


def test_a_frame_fits_a_terminal_of_24_lines_with_the_rows_that_matter_most() -> None:
    text = drawn(*busy(4), width=80, height=24)
    assert len(text.splitlines()) <= 24
    assert rows_shown(text) == ["Response", "Speech synthesis", "sessions", "text to speech", "Converse"]
    assert text.count("llm") == 4
    assert "…" not in text


def test_a_frame_of_many_programs_has_all_of_them_and_less_of_the_rest() -> None:
    text = drawn(*busy(14), width=80, height=24)
    assert len(text.splitlines()) <= 24
    assert text.count("llm") == 14
    assert rows_shown(text) == ["Response", "sessions", "Converse"]


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 60), (80, None)])
def test_a_frame_is_whole_where_there_is_room_and_where_it_is_only_printed(width: int, height: int | None) -> None:
    text = drawn(*busy(4), width=width, height=height)
    whole = drawn(*busy(4), width=width)
    assert text.splitlines()[1:] == whole.splitlines()[1:]
    assert [name for name in EVERY_ROW if name in text] == list(EVERY_ROW)


def test_a_narrow_terminal_costs_words_and_no_figures() -> None:
    text = drawn(*busy(1), width=50, height=24)
    assert len(text.splitlines()) <= 24
    assert line(text, "l")[-1:] == ["-"]
    assert "0 MB" in text
