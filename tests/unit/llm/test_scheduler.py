"""Who is let in, and what a step computes."""

from typing import Any

import pytest

from services.llm.backends.batching.pace import Pace
from services.llm.backends.batching.prefixes import PrefixStore
from services.llm.backends.batching.scheduler import Scheduler
from services.llm.backends.batching.sequence import Entered, Prefilled, Sequence, SequenceEvent


class Events:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[SequenceEvent] = []

    def put(self, event: SequenceEvent) -> None:
        """From the scheduler."""
        self.got.append(event)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def arrival(length: int, at: float = 0.0, limit: int = 10, session: str = "", first: int = 1) -> Sequence:
    """A sequence of some tokens."""
    tokens = [first, *range(length - 1)]
    return Sequence(tokens, limit, frozenset(), None, Events(), session=session, arrived=at)


def scheduler(capacity: int = 4096, **options: Any) -> tuple[Scheduler, Clock]:
    """One with an empty pool and a clock at 0."""
    clock = Clock()
    limits = {"max_batch": 8, "max_tokens": capacity, **options}
    return Scheduler(PrefixStore(capacity), Pace(), clock=clock, **limits), clock


def compute(planned: list[tuple[Sequence, int]]) -> None:
    """What the engine does with a plan, without the model."""
    for sequence, count in planned:
        assert sequence.span is not None
        done = len(sequence.span.tokens)
        sequence.span.tokens += sequence.tokens[done : done + count]
        if not sequence.pending and sequence.limit:
            sequence.tokens.append(5)


def test_waiting_is_measured() -> None:
    schedule, clock = scheduler(max_batch=1)
    first, second = arrival(10), arrival(20)
    schedule.add(first)
    schedule.add(second)
    schedule.admit()
    clock.now = 2.5
    schedule.leave(first)
    schedule.admit()
    assert second.sink.got == [Entered(2.5, 0)]  # type: ignore[attr-defined]


def test_short_prompts_go_first_and_long_ones_come_through_by_ageing() -> None:
    schedule, clock = scheduler(max_batch=1)
    blocker, long, short = arrival(5), arrival(1000, first=2), arrival(10, first=3)
    schedule.add(blocker)
    schedule.admit()
    schedule.add(long)
    schedule.add(short)
    schedule.leave(blocker)
    schedule.admit()
    assert schedule.active == [short]
    schedule.leave(short)
    clock.now = 1.0
    late = arrival(10, at=1.0, first=4)
    schedule.add(late)
    schedule.admit()
    assert schedule.active == [long]


def test_sessions_take_turns() -> None:
    schedule, _ = scheduler(max_batch=2)
    mine = [arrival(10 + number, session="mine", first=number + 2) for number in range(3)]
    other = arrival(500, session="other", first=9)
    for sequence in (*mine, other):
        schedule.add(sequence)
    schedule.admit()
    assert schedule.active == [mine[0], other]


def test_those_that_decode_are_in_every_step_and_prompts_share_what_is_left() -> None:
    schedule, _ = scheduler(capacity=16384)
    running = arrival(10)
    schedule.add(running)
    schedule.admit()
    compute(schedule.plan())
    assert running.decoding
    schedule.add(arrival(5000, first=2))
    schedule.admit()
    planned = schedule.plan()
    assert planned[0] == (running, 1)
    assert 0 < planned[1][1] < 5000


@pytest.mark.parametrize(("joining_s", "token_s"), [(0.0, 0.0005), (0.016, 0.0004), (0.03, 0.003)])
def test_streams_keep_half_of_their_pace_and_a_long_prompt_comes_in(joining_s: float, token_s: float) -> None:
    pace, decode_s = Pace(), 0.02
    for _ in range(20):
        pace.saw(4, 0, decode_s)
    left, spent, steps = 2000, 0.0, 0
    while left > 0:
        count = min(left, pace.budget(4))
        seconds = decode_s + (joining_s + count * token_s if count else 0.0)
        pace.saw(4, count, seconds)
        left, spent, steps = left - count, spent + seconds, steps + 1
    assert steps * decode_s / spent > 0.6
    needed = 2000 * token_s
    assert spent < (needed + joining_s * 2000 / 16) / 0.27 + 0.1, "neither waits for the other without need"


def test_alone_a_prompt_takes_larger_slices() -> None:
    pace = Pace()
    for _ in range(20):
        pace.saw(4, 0, 0.01)
    for _ in range(20):
        pace.saw(0, 60, 60 * 0.001)
    assert pace.budget(0) > pace.budget(4) > 0


def test_a_machine_that_slept_changes_slices_little() -> None:
    pace = Pace()
    for _ in range(20):
        pace.saw(4, 0, 0.02)
    before = pace.budget(4)
    pace.saw(4, 0, 300.0)
    assert pace.budget(4) == before
    pace.saw(0, 100, 300.0)
    assert pace.budget(4) > before / 3


def test_a_short_prompt_joins_as_if_nobody_else_were_at_work_and_others_in_slices() -> None:
    pace = Pace()
    for _ in range(20):
        pace.saw(1, 0, 0.02)
        pace.saw(1, 50, 0.02 + 50 * 0.002)
    for _ in range(80):
        pace.saw(1, 0, 0.02)
    clock = Clock()
    counts = {}
    for length, limit in ((60, 10), (60, 0), (1000, 10)):
        schedule = Scheduler(PrefixStore(4096), pace, max_batch=8, max_tokens=4096, clock=clock)
        speaking, newcomer = arrival(5), arrival(length, limit=limit, first=2)
        schedule.add(speaking)
        schedule.admit()
        compute(schedule.plan())
        schedule.add(newcomer)
        schedule.admit()
        counts[length, limit] = {id(sequence): count for sequence, count in schedule.plan()}[id(newcomer)]
    assert counts == {(60, 10): 60, (60, 0): pace.budget(1), (1000, 10): pace.budget(1)}
    assert pace.budget(1) < 35
    assert newcomer.span is not None
    newcomer.span.tokens += newcomer.tokens[:900]
    assert dict(schedule.plan())[newcomer] == pace.budget(1), "its last tokens, too"


def test_a_preparation_gives_way_to_answers_and_is_taken_over_by_its_own() -> None:
    schedule, _ = scheduler(capacity=16384)
    preparation = arrival(3000, limit=0)
    schedule.add(preparation)
    schedule.admit()
    compute(schedule.plan())
    assert preparation.span is not None
    done = len(preparation.span.tokens)
    asked = Sequence([*preparation.tokens, 77], 10, frozenset(), None, Events(), arrived=0.0)
    schedule.add(asked)
    schedule.admit()
    assert preparation.sink.got[-1] == Prefilled(done)  # type: ignore[attr-defined]
    assert asked.sink.got == [Entered(0.0, done)]  # type: ignore[attr-defined]
    assert schedule.active == [asked]


def test_the_youngest_steps_back_where_there_is_no_room_and_comes_in_again() -> None:
    schedule, clock = scheduler(capacity=128)
    old, young = arrival(30, limit=30), arrival(31, at=1.0, limit=30, first=2)
    schedule.add(old)
    schedule.admit()
    schedule.add(young)
    schedule.admit()
    assert len(schedule.active) == 2
    compute(schedule.plan())
    assert old.span is not None
    assert schedule.make_room(old, 90) is not None
    assert schedule.active == [old]
    assert schedule.waiting == [young]
    clock.now = 3.0
    schedule.leave(old)
    schedule.admit()
    assert schedule.active == [young]
    assert len([event for event in young.sink.got if isinstance(event, Entered)]) == 1  # type: ignore[attr-defined]


def test_cancelled_sequences_go_wherever_they_are() -> None:
    schedule, _ = scheduler(max_batch=1)
    first, second = arrival(10), arrival(20)
    schedule.add(first)
    schedule.add(second)
    schedule.admit()
    first.cancelled = second.cancelled = True
    schedule.drop_cancelled()
    assert not schedule.active
    assert not schedule.waiting
