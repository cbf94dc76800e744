"""Whose audio runs out when, and who is refused: by a virtual clock."""

import contextlib

import pytest

from services.common.errors import OverloadedError
from services.tts.workload import LEAD_S, Workload, lateness_s


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def measured(clock: Clock, factor: float, max_delay_s: float = 1.0) -> Workload:
    """An engine that makes 10 s of audio of 100 characters."""
    workload = Workload(max_delay_s, clock)
    workload.learn(10 * factor, 10.0, 100)
    return workload


def test_a_fast_engine_serves_many_and_a_slow_one_few(clock: Clock) -> None:
    for factor, served in ((0.05, 20), (0.25, 4), (0.5, 2), (0.9, 1)):
        workload = measured(clock, factor)
        with contextlib.ExitStack() as listening:
            for _ in range(served):
                workload.check(60.0)
                listening.enter_context(workload.speech(60.0, follows=False))
            with pytest.raises(OverloadedError) as refused:
                workload.check(60.0)
        assert refused.value.retry_after_s is not None
        assert refused.value.retry_after_s >= 1


def test_who_is_alone_is_served_by_the_slowest_engine(clock: Clock) -> None:
    measured(clock, 5.0).check(60.0)


def test_before_anything_was_measured_nobody_is_refused(clock: Clock) -> None:
    workload = Workload(1.0, clock)
    with workload.speech(10.0, follows=False):
        workload.check(10.0)


def test_audio_that_is_ahead_makes_room(clock: Clock) -> None:
    workload = measured(clock, 0.6)
    with workload.speech(30.0, follows=False) as speech:
        with pytest.raises(OverloadedError):
            workload.check(10.0)
        speech.made(25.0, left_s=5.0)
        workload.check(10.0)


def test_a_short_answer_fits_where_a_long_one_does_not(clock: Clock) -> None:
    workload = measured(clock, 0.7)
    with workload.speech(10.0, follows=False):
        workload.check(1.0)
        with pytest.raises(OverloadedError):
            workload.check(10.0)


def test_who_runs_out_of_audio_first_comes_first_and_nobody_starves(clock: Clock) -> None:
    workload = measured(clock, 0.3)
    with workload.speech(20.0, follows=False) as going_on, workload.speech(5.0, follows=True) as following:
        going_on.made(3.0, left_s=17.0)
        with workload.speech(5.0, follows=False) as new:
            assert new.due_at < following.due_at == clock.now + LEAD_S < going_on.due_at == clock.now + 3
        clock.now += 4
        with workload.speech(5.0, follows=False) as newer:
            assert going_on.due_at < newer.due_at


def test_a_request_that_ends_or_breaks_off_takes_no_room(clock: Clock) -> None:
    workload = measured(clock, 0.9)
    with pytest.raises(RuntimeError), workload.speech(60.0, follows=False):
        raise RuntimeError
    workload.check(60.0)
    with workload.speech(60.0, follows=False), pytest.raises(OverloadedError):
        workload.check(60.0)


def test_new_measurements_count_more(clock: Clock) -> None:
    workload = measured(clock, 0.1)
    assert workload.real_time_factor == pytest.approx(0.1)
    for _ in range(30):
        workload.learn(5.0, 10.0, 150)
    assert workload.real_time_factor == pytest.approx(0.5, rel=0.05)
    assert workload.audio_of(150, 1.0) == pytest.approx(10.0, rel=0.05)
    assert workload.audio_of(150, 2.0) == pytest.approx(5.0, rel=0.05)


def test_lateness_is_the_work_owed_beyond_the_time_there_was() -> None:
    assert lateness_s([(0.0, 10.0)], 0.5) == pytest.approx(-5.0)
    assert lateness_s([(0.0, 10.0)], 1.5) == pytest.approx(5.0)
    assert lateness_s([(0.0, 10.0), (0.0, 10.0)], 0.6) == pytest.approx(2.0)
    assert lateness_s([(-2.0, 1.0)], 0.5) == pytest.approx(0.5)  # it has run out: the work is owed at once
