"""Attention in bfloat16 on a processor, where torch's own call is slow for few queries. Imports torch.

Products are rounded as the models' eager attention rounds them.
"""

import math
from collections.abc import Sequence

import torch

from services.llm.backends.batching.helper import Helper

_ALIGNED = 64
"""Keys that are brought side by side are as many as a multiple of this: torch compiles a kernel for each size."""
_SHARED_PRODUCTS = 1 << 17
"""Products of a head's queries with its keys from which on half of the queries are worth calling the helper."""
_SHARED_KEYS = 1 << 13
"""Keys of all rows of one token from which on half of the rows are."""


def prompt_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    helper: Helper | None,
) -> torch.Tensor:
    """Attention of several tokens head by head: product, softmax, product. All heads at once would copy their keys.

    Args:
        query: (1, heads, queries, head size).
        key: (1, heads, keys, head size); `value` likewise.
        mask: (queries, last keys), added to the products with the last keys.
        helper: takes a part of the queries where there are many.

    Returns:
        As `query`.
    """

    def some(queries: slice) -> torch.Tensor:
        heads = []
        for q, k, v in zip(query[0, :, queries] * scale, key[0], value[0], strict=True):
            products = torch.mm(q, k.t())
            products[:, -mask.shape[1] :] += mask[queries]
            heads.append(torch.mm(torch.softmax(products, -1), v))
        return torch.stack(heads)

    count = query.shape[2]
    if helper is None or count * key.shape[2] < _SHARED_PRODUCTS:
        return some(slice(None))[None]
    mine = count * 9 // 16  # the helper begins later
    return torch.cat(helper.both(some, slice(mine), slice(mine, None)), 1)[None]


class DecodeAttention:
    """Attention of rows of one token each, in all layers of a step; rows of similar length in two products together.

    Args:
        rows: of each, the keys and values of all layers: (heads, keys, head size), keys at the even indices.
        helper: takes half of the rows where there are many keys.
    """

    def __init__(self, rows: Sequence[Sequence[torch.Tensor]], helper: Helper | None) -> None:
        lengths = [row[0].shape[1] for row in rows]
        self._helper = helper if len(rows) > 1 and sum(lengths) >= _SHARED_KEYS else None
        ordered = sorted(range(len(rows)), key=lambda index: -lengths[index])
        parts = [ordered] if self._helper is None else [ordered[::2], ordered[1::2]]
        self._parts = [
            [(group, _SideBySide([rows[index] for index in group])) for group in _alike(part, lengths)]
            for part in parts
        ]

    def attend(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        """(rows, heads, queries, head size) for such queries of a layer."""
        first = self._parts[0][0]
        if len(first[0]) == len(query):
            return first[1].attend(layer, query, scale)
        result = torch.empty_like(query)

        def some(part: list[tuple[list[int], _SideBySide]]) -> None:
            for group, together in part:
                result[group] = together.attend(layer, query[group], scale)

        if self._helper is None:
            some(self._parts[0])
        else:
            self._helper.both(some, *self._parts)
        return result


class _SideBySide:
    """Rows whose keys and values are copied side by side: each product is one call for all of them."""

    def __init__(self, rows: Sequence[Sequence[torch.Tensor]]) -> None:
        heads, _, size = rows[0][0].shape
        lengths = [row[0].shape[1] for row in rows]
        # What is beyond a row's keys is zero, in the values, too: it is multiplied by nothing, and must not be NaN.
        most = -(-max(lengths) // _ALIGNED) * _ALIGNED
        copies = torch.zeros(2, len(rows), heads, most, size, dtype=torch.bfloat16)
        self._copies = [copies[which, row, :, :length] for which in (0, 1) for row, length in enumerate(lengths)]
        self._originals = list(zip(*rows, strict=True))
        keys, self._values = copies.flatten(1, 2)
        self._keys = keys.transpose(1, 2)
        unseen = torch.arange(most) >= torch.tensor(lengths)[:, None]
        mask = torch.zeros(unseen.shape, dtype=torch.bfloat16).masked_fill_(unseen, -math.inf)
        self._mask = mask.repeat_interleave(heads, 0)[:, None]

    def attend(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        torch._foreach_copy_(self._copies, [*self._originals[layer * 2], *self._originals[layer * 2 + 1]])
        flat = query.reshape(len(self._values), -1, query.shape[-1])
        products = torch.baddbmm(self._mask, flat, self._keys, alpha=scale)
        return torch.bmm(torch.softmax(products, -1), self._values).view(query.shape)


def _alike(ordered: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Rows, the longest first, in groups: none has less than half of the keys of another in its group."""
    groups: list[list[int]] = []
    for index in ordered:
        if groups and 2 * lengths[index] >= lengths[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [sorted(group) for group in groups]
