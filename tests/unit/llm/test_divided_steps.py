"""A step in parts, each on a thread of its own, gives what it gives as one."""

import pytest
import torch

from services.llm.backends.batching.key_values import KeyValues, Row
from services.llm.backends.batching.llama import divided
from services.llm.backends.batching.packed import Step
from tests.support.tiny_engine import VOCABULARY, lean

DECODING = [Row(index, 1, index * 30, 20 + index) for index in range(5)]
PROMPT = Row(0, 50, 0, 50)
MIXED = [*DECODING, Row(5, 30, 200, 70), Row(35, 12, 300, 12)]


@pytest.mark.parametrize(
    ("rows", "most", "counts", "meet"),
    [
        (DECODING, 1, [5], False),
        (DECODING, 2, [2, 3], False),
        (DECODING, 8, [2, 3], False),
        (DECODING[:3], 8, [3], False),
        ([PROMPT], 2, [25, 25], True),
        ([PROMPT], 3, [16, 17, 17], True),
        ([Row(0, 20, 0, 20), Row(20, 20, 50, 20)], 2, [20, 20], False),
        (MIXED, 2, [23, 24], True),
        (MIXED, 100, [6, 7, 7, 6, 7, 7, 7], True),
    ],
)
def test_parts_have_about_as_many_tokens_each(rows: list[Row], most: int, counts: list[int], meet: bool) -> None:
    shares, meeting = divided(rows, most)
    assert [sum(row.count for row in share) for share in shares] == counts
    assert meeting is meet
    for share in shares:
        firsts = [sum(row.count for row in share[:index]) for index in range(len(share))]
        assert [row.first for row in share] == firsts, "each part counts its own tokens"


def test_the_pieces_of_a_cut_row_are_the_row() -> None:
    first, rest = Row(7, 30, 200, 70).cut(10)
    assert first == Row(7, 10, 200, 50)
    assert rest == Row(17, 20, 200, 70)


@pytest.mark.parametrize("rows", [DECODING, [PROMPT], MIXED])
@pytest.mark.parametrize("workers", [2, 3])
def test_parts_compute_what_the_whole_computes(rows: list[Row], workers: int) -> None:
    torch.manual_seed(1)
    model = lean()
    count = sum(row.count for row in rows)
    positions = torch.cat([torch.arange(row.length - row.count, row.length) for row in rows])
    places = torch.cat([torch.arange(row.length - row.count, row.length) + row.start for row in rows])
    wanted = torch.tensor([row.first + row.count - 1 for row in rows])
    step = Step(torch.randint(0, VOCABULARY, (count,)), positions, places, rows, wanted)
    one = KeyValues(model.shape, 400, "cpu")
    one._data.normal_()
    other = KeyValues(model.shape, 400, "cpu")
    other._data.copy_(one._data)
    with torch.inference_mode():
        expected, found = model.forward(step, one), model.forward(step, other, workers)
    assert expected is not None
    assert found is not None
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(other._data, one._data)


def test_a_part_of_which_nothing_is_wanted_gives_nothing() -> None:
    model = lean()
    numbers = torch.arange(50)
    pool = KeyValues(model.shape, 50, "cpu")
    with torch.inference_mode():
        logits = model.forward(Step(numbers, numbers, numbers, [PROMPT], torch.tensor([3])), pool, 2)
        assert logits is not None
        assert logits.shape == (1, VOCABULARY)
        assert model.forward(Step(numbers, numbers, numbers, [PROMPT], numbers[:0]), pool, 2) is None


def test_after_a_part_has_failed_the_next_step_is_right() -> None:
    model = lean()
    numbers = torch.arange(50)
    wanted = numbers[-1:]
    pool = KeyValues(model.shape, 50, "cpu")
    with torch.inference_mode():
        expected = model.forward(Step(numbers, numbers, numbers, [PROMPT], wanted), pool)
        for beyond in (0, -1):
            places = numbers.clone()
            places[beyond] = 50
            with pytest.raises(RuntimeError):
                model.forward(Step(numbers, numbers, places, [PROMPT], wanted), pool, 2)
        found = model.forward(Step(numbers, numbers, numbers, [PROMPT], wanted), pool, 2)
    torch.testing.assert_close(found, expected)
