"""Admission by load, in a time that the test tells."""

import contextlib
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import OverloadedError
from services.common.load import CALM_PER_S, INTERVAL_S, LATE_S, LATE_SAMPLES, LEAST, LONGEST_S, Load, spread

COST = 0.01
"""What a piece of work takes of the event loop."""


class Process:
    """A process whose work costs so much, and what comes to it."""

    def __init__(self, max_share: float = 0.8, *, cost: float = COST, settle_s: float = 1.0) -> None:
        self.now = 0.0
        self.cost = cost
        self.load = Load(max_share, settle_s=settle_s, window_s=2.0, clock=lambda: self.now)
        self.work = contextlib.ExitStack()

    def come(self, count: int) -> int:
        """So many ask; returns how many are let in."""
        before = self.load.inside
        for _ in range(count):
            with contextlib.suppress(OverloadedError):
                self.work.enter_context(self.load.work("things"))
        return self.load.inside - before

    def run(self, seconds: float, *, lag_s: float = 0.0) -> None:
        """Let time pass."""
        for _ in range(round(seconds / INTERVAL_S)):
            self.now += INTERVAL_S
            self.load.sample(min(1.0, self.load.inside * self.cost), lag_s)


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    with made.work:
        yield made


def test_as_much_is_let_in_as_fits_by_what_it_is_measured_to_take(process: Process) -> None:
    for _ in range(10):
        process.come(1000)
        process.run(2.0)
    assert process.load.inside == pytest.approx(0.8 / COST, rel=0.05)


def test_a_crowd_that_comes_at_once_does_not_get_in_at_once(process: Process) -> None:
    process.cost = 0.05  # more than is guessed
    assert process.come(1000) <= 0.8 / 0.02
    process.run(5.0)
    assert process.come(1000) == 0


def test_what_is_young_is_not_taken_for_cheap() -> None:
    process = Process(settle_s=3.0)
    for _ in range(20):
        process.come(1000)
        process.cost = 0.0 if process.now < 2.0 else COST  # nobody has said anything yet
        process.run(1.0)
        assert process.load.inside <= 0.8 / COST * 1.05
    process.work.close()


def test_work_that_comes_and_goes_is_not_taken_for_dearer_than_it_is() -> None:
    process = Process(settle_s=3.0)
    leaving: list[tuple[float, contextlib.ExitStack]] = []
    insides = []
    while process.now < 60:
        while leaving and leaving[0][0] <= process.now:
            leaving.pop(0)[1].close()
        with contextlib.suppress(OverloadedError):
            while True:
                piece = contextlib.ExitStack()
                piece.enter_context(process.load.work("things"))
                leaving.append((process.now + random.uniform(6.0, 18.0), piece))
        leaving.sort(key=lambda pair: pair[0])
        process.run(INTERVAL_S)
        insides.append(process.load.inside)
    settled = insides[len(insides) // 2 :]
    assert sum(settled) / len(settled) == pytest.approx(0.8 / COST, rel=0.1)
    for _, piece in leaving:
        piece.close()


def test_room_is_there_as_soon_as_the_work_has_gone(process: Process) -> None:
    for _ in range(5):
        process.come(1000)
        process.run(2.0)
    process.come(1000)
    assert process.come(1) == 0
    process.work.close()
    assert process.come(10) == 10


def test_a_late_event_loop_lets_nothing_in_until_it_is_on_time_once(process: Process) -> None:
    process.come(LEAST)
    process.run(INTERVAL_S * (LATE_SAMPLES - 1), lag_s=2 * LATE_S)
    assert process.come(1) == 1
    process.run(INTERVAL_S, lag_s=2 * LATE_S)
    assert process.load.late
    assert process.come(1) == 0
    process.run(INTERVAL_S)
    assert process.come(1) == 1


def test_calls_that_are_short_come_in_all_at_once_while_the_process_has_time() -> None:
    process = Process(settle_s=0.0)
    assert process.come(100) == 100
    process.run(1.0)
    assert process.load.busy
    assert process.come(1) == 0
    process.cost = 0.001
    process.run(1.0)
    assert process.come(1) == 1
    process.work.close()


def test_while_others_refuse_what_the_work_needs_nothing_is_let_in(process: Process) -> None:
    process.come(LEAST)
    process.load.hold(1.0)
    assert process.come(1) == 0
    process.run(1.0 + INTERVAL_S)
    assert process.come(1) == 1


def test_a_little_work_is_let_in_whatever_it_takes(process: Process) -> None:
    process.cost = 1.0
    process.come(1)
    process.run(10.0, lag_s=1.0)
    assert process.come(10) == LEAST - 1


def test_without_a_share_nothing_is_refused() -> None:
    process = Process(0.0, cost=1.0)
    process.come(100)
    process.run(5.0, lag_s=1.0)
    assert process.come(100) == 100
    process.work.close()


def test_the_refusal_says_when_to_come_back_and_not_to_all_the_same(process: Process) -> None:
    process.come(40)
    told = set()
    for _ in range(int(CALM_PER_S)):
        with pytest.raises(OverloadedError, match="too busy for more things") as caught:
            process.load.work("things").__enter__()
        assert caught.value.retry_after_s is not None
        assert 1.0 <= caught.value.retry_after_s <= 2.0
        told.add(caught.value.retry_after_s)
    assert len(told) > CALM_PER_S / 2
    assert spread(0.0) == 0.0


def test_the_more_are_refused_the_longer_they_are_told_to_stay_away(process: Process) -> None:
    process.come(40)

    def told() -> float:
        with pytest.raises(OverloadedError) as caught:
            process.load.work("things").__enter__()
        return caught.value.retry_after_s or 0

    process.come(int(5 * CALM_PER_S))
    assert 5.0 <= told() <= 11.0
    process.come(1000)
    assert LONGEST_S <= told() <= 2 * LONGEST_S
    process.run(60.0)
    process.come(1000)  # up to the limit
    process.run(60.0)
    assert 1.0 <= told() <= 2.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1)), max_size=50))
def test_whatever_is_measured_the_count_is_right_and_the_limit_is_a_number(
    steps: list[tuple[int, int, float, float]],
) -> None:
    load = Load(0.8, settle_s=0.5, clock=lambda: now)
    now, inside = 0.0, list[contextlib.AbstractContextManager[None]]()
    for coming, leaving, share, lag_s in steps:
        for _ in range(coming):
            work = load.work("things")
            with contextlib.suppress(OverloadedError):
                work.__enter__()
                inside.append(work)
        for _ in range(min(leaving, len(inside))):
            inside.pop(0).__exit__(None, None, None)
        now += INTERVAL_S
        load.sample(share, lag_s)
        assert load.inside == len(inside)
        assert load.limit >= LEAST
    for work in inside:
        work.__exit__(None, None, None)
    assert load.inside == 0
