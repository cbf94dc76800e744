"""What the soak calls lost, hung or growing."""

import pytest
from parley_client.events import Outcome

from tests.soak.growth import MEASURES, Sample, left_over, rising
from tests.soak.reconcile import Response, Seen, Stored, reconcile

TOLD = Response("r1_item", Outcome.COMPLETED, "Hello.")
KEPT = [Stored("u1", "Hi"), Stored("r1_item", "Hello.")]


def seen(response: Response, *hung: str) -> Seen:
    return Seen("conv", {"r1": response}, list(hung))


def test_what_was_told_and_is_kept_is_right() -> None:
    assert reconcile(seen(TOLD), KEPT) == []
    assert reconcile(seen(Response("r1_item", Outcome.CANCELLED, "")), KEPT[:1]) == []
    assert reconcile(seen(Response("r1_item", Outcome.FAILED)), []) == []


def test_an_answer_that_was_lost_with_its_session_may_be_kept_or_not() -> None:
    lost = Response("r1_item")
    left = seen(lost)
    left.lose()
    assert reconcile(left, KEPT) == reconcile(left, []) == []


@pytest.mark.parametrize(
    ("conversation", "history", "told"),
    [
        (seen(TOLD), KEPT[:1], "completed 'Hello.', kept None"),
        (seen(Response("r1_item", Outcome.CANCELLED, "Hel")), KEPT, "said to be heard 'Hel', kept 'Hello.'"),
        (seen(Response("r1_item")), [], "created and never done"),
        (seen(TOLD), [*KEPT, KEPT[1]], "in the history 2 times"),
        (seen(TOLD), [*KEPT, Stored("r2_item", "What?")], "nobody was told"),
        (seen(TOLD, "turn 3"), KEPT, "hung: turn 3"),
    ],
)
def test_what_is_wrong_is_said(conversation: Seen, history: list[Stored], told: str) -> None:
    (wrong,) = reconcile(conversation, history)
    assert told in wrong


def samples(*memory_mb: float) -> list[Sample]:
    return [Sample(float(at), (megabytes, 16.0, 13.0, 10.0)) for at, megabytes in enumerate(memory_mb)]


def test_memory_that_rises_after_the_warm_up_is_growth() -> None:
    assert rising(samples(*(60 + step for step in range(60))))
    assert not rising(samples(*(min(60 + 5 * step, 90) for step in range(60)))), "it has warmed up"
    assert not rising(samples(*(60 + step % 10 for step in range(60)))), "it goes up and down"
    assert not rising(samples(60, 100, 140)), "nothing can be said of three samples"


def test_what_is_left_over_at_rest_is_a_leak() -> None:
    rest = Sample(0.0, (60.0, 16.0, 13.0, 10.0))
    assert left_over(rest, Sample(1.0, (90.0, 18.0, 14.0, 11.0))) == []
    leaky = left_over(rest, Sample(1.0, (60.0, 46.0, 43.0, 40.0)))
    assert [what.split(" at rest")[0] for what in leaky] == list(MEASURES[1:])
