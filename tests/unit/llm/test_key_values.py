"""Attention over pieces of the pool, against attention over each sequence's own keys, written out."""

import pytest
import torch

from services.llm.backends.batching.attention import attend
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
    pool._data[0::2], pool._data[1::2] = keys, values
    places = torch.tensor([row.start + row.length - row.count + new for row in ROWS for new in range(row.count)])
    query = torch.randn(len(places), HEADS, 8)
    result = attend(*pool.layers[2:], query, pool.seen(ROWS, 2, window, softcap), SCALE, softcap)
    for row in ROWS:
        piece = slice(row.start, row.start + row.length)
        mine = slice(row.first, row.first + row.count)
        expected = written_out(query[mine], keys[1][:, piece], values[1][:, piece], window, softcap)
        torch.testing.assert_close(result[mine], expected)


def attend_in_bfloat16(
    rows: list[Row], pool: KeyValues, window: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What random queries give, and what is written out in float32."""
    query = torch.randn(sum(row.count for row in rows), HEADS, 8, dtype=torch.bfloat16)
    result = attend(*pool.layers, query, pool.seen(rows, 2, window), SCALE, None).float()
    expected = []
    for row in rows:
        keys, values = pool._data[:, :, row.start : row.start + row.length].float()
        mine = slice(row.first, row.first + row.count)
        expected.append(written_out(query[mine].float(), keys, values, window, None))
    return result, torch.cat(expected)


def bfloat16_pool(capacity: int) -> KeyValues:
    torch.manual_seed(1)
    pool = KeyValues(PoolShape(1, 2, 8, torch.bfloat16), capacity, "cpu")
    pool._data.normal_()
    return pool


@pytest.mark.parametrize(("count", "length"), [(6, 511), (6, 512), (6, 900), (81, 900)])
@pytest.mark.parametrize("window", [None, 600])
def test_a_prompt_after_a_long_history_in_bfloat16(count: int, length: int, window: int | None) -> None:
    result, expected = attend_in_bfloat16([Row(0, count, 50, length)], bfloat16_pool(1000), window)
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("lengths", [[3, 40], [300, 1, 290, 120, 310], [700], [2000, 1900, 20, 1500, 1200, 1990, 1]])
@pytest.mark.parametrize("window", [None, 250])
def test_rows_of_any_lengths_decode_in_bfloat16(lengths: list[int], window: int | None) -> None:
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    rows = [Row(index, 1, starts[index], length) for index, length in enumerate(lengths)]
    result, expected = attend_in_bfloat16(rows, bfloat16_pool(sum(lengths)), window)
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.02)


def test_a_broken_row_leaves_those_beside_it_unharmed() -> None:
    pool = bfloat16_pool(1000)
    pool._data[:, :, 600:] = torch.nan
    result, expected = attend_in_bfloat16([Row(0, 1, 0, 300), Row(1, 1, 600, 400), Row(2, 1, 300, 250)], pool)
    torch.testing.assert_close(result[[0, 2]], expected[[0, 2]], rtol=0.02, atol=0.02)
    assert result[1].isnan().all()


@pytest.mark.parametrize("target", [50, 15, 10, 5, 0])
def test_copies_may_overlap(target: int) -> None:
    pool = KeyValues(SHAPE, 128, "cpu")
    pool._data.normal_()
    expected = pool._data[..., 10:30, :].clone()
    pool.copy([Copy(10, target, 20)])
    assert torch.equal(pool._data[..., target : target + 20, :], expected)


def test_bytes_of_a_token() -> None:
    assert SHAPE.token_bytes == KeyValues(SHAPE, 1, "cpu")._data.nbytes == 2 * 2 * 2 * 8 * 4
