"""Where the time of a turn went, as it is exported."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from orchestrator.domain import ResponseStatus, TurnTimings
from orchestrator.metrics import TurnMetrics
from services.common.turn_stages import STAGES, stage_seconds

SPANS = st.none() | st.floats(-2.0, 10.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> TurnMetrics:
    return TurnMetrics(registry)


def test_each_stage_counts_for_what_it_lasted_after_the_one_before() -> None:
    timings = TurnTimings(0.5, 0.6, 0.75, 0.8, 0.9, 3.0)
    assert list(stage_seconds(vars(timings)).values()) == pytest.approx([0.5, 0.1, 0.15, 0.05, 0.1])


def test_what_a_speculation_did_before_the_transcript_took_no_time() -> None:
    timings = TurnTimings(0.5, 0.6, first_token=0.2, first_segment=0.3, first_audio=0.62)
    assert stage_seconds(vars(timings)) == pytest.approx(
        {"endpointing": 0.5, "transcription": 0.1, "language_model": 0.0, "segmentation": 0.0, "synthesis": 0.02}
    )


def test_a_turn_without_audio_has_no_stages() -> None:
    assert stage_seconds(vars(TurnTimings(0.5, 0.6, 0.7, None, None, 1.0))) == {}


@given(st.builds(TurnTimings, *(SPANS for _ in fields(TurnTimings))))
def test_the_stages_add_up_whatever_came_first(timings: TurnTimings) -> None:
    spent = stage_seconds(vars(timings))
    if timings.first_audio is None:
        assert spent == {}
    else:
        assert sum(spent.values()) == pytest.approx(max(0.0, timings.first_audio), abs=1e-9)
        assert all(seconds >= 0 for seconds in spent.values())


def test_the_exported_stages_add_up_to_the_exported_response_time(
    metrics: TurnMetrics, registry: CollectorRegistry
) -> None:
    for timings in (TurnTimings(0.5, 0.6, 0.75, 0.8, 0.9, 3.0), TurnTimings(None, None, 0.2, 0.3, 0.4, 1.0)):
        metrics.responded(ResponseStatus.COMPLETED, timings)
    parts = [registry.get_sample_value("parley_turn_stage_seconds_sum", {"stage": stage}) or 0 for stage in STAGES]
    assert registry.get_sample_value("parley_turn_response_seconds_count") == 2
    assert registry.get_sample_value("parley_turn_response_seconds_sum") == pytest.approx(1.3)
    assert sum(parts) == pytest.approx(1.3)


def test_the_apology_of_a_failed_turn_is_no_answer(metrics: TurnMetrics, registry: CollectorRegistry) -> None:
    metrics.responded(ResponseStatus.FAILED, TurnTimings(0.5, 0.6, None, None, 0.9, 3.0))
    assert registry.get_sample_value("parley_turns_total", {"outcome": "failed"}) == 1
    assert registry.get_sample_value("parley_turn_response_seconds_count") == 0


def test_sessions_are_counted_while_they_last_and_timed_when_they_end(
    metrics: TurnMetrics, registry: CollectorRegistry
) -> None:
    with metrics.session():
        assert registry.get_sample_value("parley_sessions_active") == 1
        assert registry.get_sample_value("parley_session_seconds_count") == 0
    assert registry.get_sample_value("parley_sessions_active") == 0
    assert registry.get_sample_value("parley_session_seconds_count") == 1
