"""Attention over pieces of the pool, against attention over each sequence's own keys, written out."""

import pytest
import torch

from services.llm.backends.batching.key_values import KeyValues, PoolShape, Row
from services.llm.backends.batching.prefixes import Copy

SHAPE = PoolShape(layers=2, heads=2, head_size=8, dtype=torch.float32)
HEADS = 4
SCALE = 0.3
ROWS = [Row(0, 1, 40, 9), Row(1, 1, 0, 25), Row(2, 1, 60, 1), Row(3, 6, 70, 6), Row(9, 5, 100, 21)]
"""Three that decode, a prompt from its beginning, and the next slice of another."""


def written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, softcap: float | None
) -> torch.Tensor:
    """The tokens at the end of a sequence attend to it: (new, heads, size), (key heads, length, size)."""
    new, length = len(query), key.shape[1]
    key, value = key.repeat_interleave(2, 0), value.repeat_interleave(2, 0)
    products = torch.einsum("thd,hsd->hts", query, key) * SCALE
    if softcap is not None:
        products = softcap * torch.tanh(products / softcap)
    own = torch.arange(length - new, length)[:, None]
    places = torch.arange(length)
    seen = (places <= own) & (places > own - (window or length + 1))
    weights = torch.softmax(products.masked_fill(~seen, -torch.inf), -1)
    return torch.einsum("hts,hsd->thd", weights, value)


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_every_row_sees_its_own_sequence_and_nothing_else(
    gathers: bool, window: int | None, softcap: float | None
) -> None:
    torch.manual_seed(1)
    pool = KeyValues(SHAPE, 128, "cpu", gathers=gathers)
    keys, values = torch.randn(2, 2, 128, 8), torch.randn(2, 2, 128, 8)
    pool._data[0::2, 0], pool._data[1::2, 0] = keys, values
    places = torch.tensor([row.start + row.length - row.count + new for row in ROWS for new in range(row.count)])
    query = torch.randn(len(places), HEADS, 8)
    key, value = torch.randn(2, len(places), 8), torch.randn(2, len(places), 8)
    keys[1][:, places], values[1][:, places] = key, value
    pool.begin(ROWS, places)
    result = pool.attend(1, query, key, value, SCALE, window, softcap)
    for row in ROWS:
        piece = slice(row.start, row.start + row.length)
        mine = slice(row.first, row.first + row.count)
        expected = written_out(query[mine], keys[1][:, piece], values[1][:, piece], window, softcap)
        torch.testing.assert_close(result[mine], expected)


@pytest.mark.parametrize("length", [511, 512, 900])
def test_a_prompt_after_a_long_history_in_bfloat16(length: int) -> None:
    torch.manual_seed(1)
    pool = KeyValues(PoolShape(1, 2, 8, torch.bfloat16), 1000, "cpu")
    pool._data.normal_()
    places = torch.arange(50 + length - 6, 50 + length)
    query, key, value = (torch.randn(*size, dtype=torch.bfloat16) for size in ((6, HEADS, 8), (2, 6, 8), (2, 6, 8)))
    pool.begin([Row(0, 6, 50, length)], places)
    result = pool.attend(0, query, key, value, SCALE)
    keys, values = pool._data[:, 0, :, 50 : 50 + length].float()
    assert torch.equal(keys[:, -6:], key.float()), "the new keys are kept"
    expected = written_out(query.float(), keys, values, None, None)
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("target", [50, 15, 5])
def test_copies_may_overlap(target: int) -> None:
    pool = KeyValues(SHAPE, 128, "cpu")
    pool._data.normal_()
    expected = pool._data[..., 10:30, :].clone()
    pool.copy([Copy(10, target, 20)])
    assert torch.equal(pool._data[..., target : target + 20, :], expected)


def test_bytes_of_a_token() -> None:
    assert SHAPE.token_bytes == KeyValues(SHAPE, 1, "cpu")._data.nbytes == 2 * 2 * 2 * 8 * 4
