"""What is made of a load run: figures, plots, the page."""

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.load.records import RunEnded, TurnEnded
from cli.report import over_time, plots
from cli.report.page import render
from cli.report.summary import RESPONSE_TITLE, answered_turns, median_turn, open_sessions, spread, summarize, worst_turn
from cli.report.svg import Scale
from tests.support.load_runs import make_run, turn


def parsed(plot: str) -> ET.Element:
    return ET.fromstring(plot)


def bars(plot: str) -> list[ET.Element]:
    return [element for element in parsed(plot).iter("rect") if "bar" in element.get("class", "")]


def test_percentiles_are_interpolated() -> None:
    figures = spread([float(number) for number in range(101)])
    assert figures.percentiles == (50.0, 90.0, 95.0, 99.0)
    assert spread([1.0, 2.0]).percentiles[0] == 1.5
    assert (figures.count, figures.worst) == (101, 100.0)


def test_the_figures_of_a_run() -> None:
    summary = summarize(make_run())
    assert summary.outcomes == {"completed": 3, "cancelled": 1}
    assert summary.errors == {"RESOURCE_EXHAUSTED": 1}
    assert (summary.answered, summary.most_sessions, summary.cpu) == (4, 2, 0.1)
    assert summary.turns_a_minute == pytest.approx(12.0)
    assert summary.spreads[RESPONSE_TITLE].percentiles[0] == pytest.approx(0.95)
    assert "Interruption to stop" not in summary.spreads


def test_the_stages_of_a_turn_add_up_to_what_the_server_timed() -> None:
    summary = summarize(make_run(turn(11.0, 0, 2, 0.8)))
    medians = {title: figures.percentiles[0] for title, figures in summary.spreads.items()}
    assert medians["End of speech decided"] == pytest.approx(0.3)
    assert medians["Transcription"] == pytest.approx(0.1)
    assert medians["Language model"] == 0.0  # begun at a pause
    assert medians["First segment"] == pytest.approx(0.2)


def test_turns_without_an_answer_are_counted_but_are_no_durations() -> None:
    summary = summarize(make_run(turn(11.0, 0, 2, None, "unanswered"), turn(12.0, 0, 3, 9.0, "failed")))
    assert summary.outcomes == {"completed": 3, "cancelled": 1, "unanswered": 1, "failed": 1}
    assert summary.spreads[RESPONSE_TITLE].worst == 3.0


def test_the_median_and_the_worst_turn_are_turns_of_the_run() -> None:
    turns = answered_turns(make_run())
    assert (median_turn(turns).response_s, worst_turn(turns).response_s) == (0.9, 3.0)


def test_open_sessions_rise_and_fall_and_those_refused_do_not_count() -> None:
    assert open_sessions(make_run()) == [(0.01, 1), (1.01, 2), (15.0, 1), (16.0, 0)]


@pytest.mark.parametrize(
    ("lag_s", "late", "ended", "words"),
    [
        (0.002, 0, RunEnded(20, False, 2), None),
        (0.3, 50, RunEnded(20, False, 2), "The load generator itself was late: its event loop by 300 ms"),
        (0.002, 50, RunEnded(20, False, 2), "50.0% of the audio went out more than 20 ms late although"),
        (0.002, 0, RunEnded(20, True, 2), "The run was stopped before its end."),
        (0.002, 0, None, "The load generator ended before the run did"),
    ],
)
def test_what_makes_the_figures_doubtful_is_said(lag_s: float, late: int, ended: RunEnded, words: str | None) -> None:
    run = make_run(lag_s=lag_s, late=late, ended=ended)
    notices = summarize(run).notices
    assert [words in notice for notice in notices] == [True] if words else notices == ()
    assert all(notice in render(run) for notice in notices)


@given(st.floats(-1e3, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_are_round_values_within_the_scale_and_not_too_many(low: float, span: float, most: int) -> None:
    scale = Scale(low, low + span, 0.0, 100.0)
    ticks = scale.ticks(most)
    assert len(ticks) <= most + 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert all(-0.01 <= scale(tick) <= 100.01 for tick in ticks)


@pytest.mark.parametrize("values", [[0.5], [0.0], [0.001] * 50, [0.3, 0.31, 0.305], [*([0.2] * 200), 60.0], [0.0, 5.0]])
def test_every_value_is_in_the_histogram(values: Sequence[float]) -> None:
    hints = [element.findtext("title", "") for element in bars(plots.histogram("Transcription", values))]
    counts = [int(re.findall(r"(\d+) turns", hint)[0]) for hint in hints]
    assert sum(counts) == len(values)


def test_an_outlier_does_not_squeeze_the_others_into_one_bar() -> None:
    values = [0.1 + number / 1000 for number in range(300)] + [60.0]
    assert len(bars(plots.histogram("Transcription", values))) > 10


def test_the_stages_of_a_waterfall_follow_each_other() -> None:
    chosen = turn(4.0, 0, 0, 0.8)
    drawn = [(float(bar.get("x", 0)), float(bar.get("width", 0))) for bar in bars(plots.waterfall(chosen))]
    assert len(drawn) == 5
    for (x, width), (following, _) in itertools.pairwise(drawn):
        assert following == pytest.approx(x + width, abs=1.6)  # what took no time is still drawn, 1.5 wide
    early = list(parsed(plots.waterfall(chosen)).iter("circle"))
    assert [ring.findtext("title", "").partition(":")[0] for ring in early] == [
        "Language model was done at 100 ms already"
    ]


def test_spans_of_time_hold_all_answers() -> None:
    answered = [turn(second / 10, 0, second, 0.5 + second / 1000) for second in range(1000)]
    found = over_time.spans(answered, 100.0)
    assert sum(span.count for span in found) == 1000
    assert [span.at_s for span in found] == sorted(span.at_s for span in found)
    assert all(p50 <= p95 <= p99 for p50, p95, p99 in (span.percentiles for span in found))
    assert found[0].percentiles[2] < found[-1].percentiles[0]


def test_the_page_asks_for_nothing_and_shows_everything() -> None:
    page = render(make_run())
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|url\(|@import|<script|https?://""", page)
    plots_shown = re.findall(r'<svg [^>]*role="img"[^>]*aria-label="([^"]+)"', page)
    assert len(plots_shown) == page.count("<svg") == 2 + 6 + 3 + 1
    assert "too many &lt;sessions&gt;" in page
    for words in ("prefers-color-scheme: dark", "p99", "speech.wav", "session 1, turn 1", "10% of a core"):
        assert words in page


def test_a_run_without_any_answer_still_has_a_page() -> None:
    run = make_run()
    silent = type(run)(run.began, tuple(record for record in run.records if not isinstance(record, TurnEnded)))
    page = render(silent)
    assert "RESOURCE_EXHAUSTED" in page
    assert "Where the time of one turn goes" not in page
