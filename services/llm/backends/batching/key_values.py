"""The pool of keys and values, and which pieces of it each sequence sees. Imports torch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from services.llm.backends.batching.attention import Gathered, Prompt, Seen, Together, unseen
from services.llm.backends.batching.prefixes import Copy

_LONG = 512
"""Keys of a prompt, or of all that decode, from which on there is a way of its own for bfloat16; with fewer its calls
cost more than they save."""
_MOST_PRODUCTS = 1 << 23
"""Products of a head's queries with its keys that are held at once: 16 MiB."""
_MOST_COPIED = 64 << 20
"""Bytes of a layer's keys and values that are brought side by side for those that decode."""
_ALIGNED = 64
"""Keys that are brought side by side are as many as a multiple of this: torch compiles a kernel for each size."""


@dataclass(frozen=True)
class PoolShape:
    """What a token's keys and values take: layers, key/value heads, numbers in a head, and the number format."""

    layers: int
    heads: int
    head_size: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of one token."""
        return 2 * self.layers * self.heads * self.head_size * self.dtype.itemsize


@dataclass(frozen=True)
class Row:
    """A sequence in a step: where its new tokens stand among those of all, and where its keys and values lie.

    Attributes:
        first: index of its first new token.
        count: its new tokens.
        start: place of its first key in the pool.
        length: its keys, those of the new tokens included.
    """

    first: int
    count: int
    start: int
    length: int

    def cut(self, tokens: int) -> "tuple[Row, Row]":
        """Its first new tokens, and those that follow, which see them."""
        rest = self.count - tokens
        return replace(self, count=tokens, length=self.length - rest), replace(
            self, first=self.first + tokens, count=rest
        )


class KeyValues:
    """Keys and values of `capacity` tokens.

    On a CPU memory is taken page by page as it is written, so a pool that is not full costs what is in it.

    Args:
        shape: of a token.
        capacity: tokens.
        device: where it lies.
        gathers: whether sequences that decode attend in one call, over a copy of their keys and values that are brought
            side by side. That pays where every call is a launch; a processor is faster with each sequence's own keys.
            None: not on a CPU.

    Attributes:
        layers: (key/value heads, capacity, head size) each: keys and values of the first layer, those of the second...
    """

    def __init__(self, shape: PoolShape, capacity: int, device: str, *, gathers: bool | None = None) -> None:
        self.shape = shape
        self.capacity = capacity
        self._gathers = device != "cpu" if gathers is None else gathers
        self._halves = device == "cpu" and shape.dtype == torch.bfloat16
        self._device = device
        self._data = torch.empty(
            (shape.layers * 2, shape.heads, capacity, shape.head_size), dtype=shape.dtype, device=device
        )
        self.layers = list(self._data.unbind(0))

    def copy(self, copies: Sequence[Copy]) -> None:
        """Move keys and values, one after another, in pieces that do not overlap: a copy of all would be megabytes."""
        for copy in copies:
            most = abs(copy.source - copy.target)
            pieces = range(0, copy.count, most) if most else ()
            for first in pieces if copy.target < copy.source else reversed(pieces):
                count = min(most, copy.count - first)
                source = self._data.narrow(-2, copy.source + first, count)
                self._data.narrow(-2, copy.target + first, count).copy_(source)

    def seen(self, rows: Sequence[Row], sharing: int, window: int | None = None, softcap: float | None = None) -> Seen:
        """What the tokens of rows see.

        Args:
            rows: those with one token first.
            sharing: heads of queries that share a head of keys.
            window: tokens that a token sees at most, itself included; None: all.
            softcap: whether products are bounded.
        """
        singles = list(itertools.takewhile(lambda row: row.count == 1, rows))
        prompts = [self._prompt(row, sharing, window, softcap) for row in rows[len(singles) :]]
        if not singles:
            return Seen(0, [], [], [], prompts)
        if self._gathers and len(singles) > 1:
            return Seen(len(singles), [], [], [self._gather(singles, window)], prompts)
        pieces = [
            (max(row.start, row.start + row.length - (window or row.length)), row.start + row.length) for row in singles
        ]
        keys = sum(end - begin for begin, end in pieces)
        copied = keys * self.shape.token_bytes // self.shape.layers
        if self._halves and softcap is None and keys >= _LONG and copied <= _MOST_COPIED:
            return Seen(
                len(singles), [], [self._bring_together(pieces, group) for group in _alike(pieces)], [], prompts
            )
        return Seen(len(singles), pieces, [], [], prompts)

    def _bring_together(self, pieces: Sequence[tuple[int, int]], rows: Sequence[int]) -> Together:
        heads, size, dtype = self.shape.heads, self.shape.head_size, self.shape.dtype
        mine = [pieces[row] for row in rows]
        lengths = [end - begin for begin, end in mine]
        # What is beyond a row's keys is zero, in the values, too: it is multiplied by nothing, and must not be NaN.
        most = -(-max(lengths) // _ALIGNED) * _ALIGNED
        copies = torch.zeros(2, len(rows), heads, most, size, dtype=dtype)
        keys, values = copies.flatten(1, 2)
        hidden = torch.arange(most) >= torch.tensor(lengths)[:, None]
        return Together(
            torch.tensor(rows),
            mine,
            [copies[which, row, :, :length] for which in (0, 1) for row, length in enumerate(lengths)],
            keys.transpose(1, 2),
            values,
            unseen(hidden, dtype).repeat_interleave(heads, 0)[:, None],
        )

    def _gather(self, rows: Sequence[Row], window: int | None) -> Gathered:
        starts, lengths = torch.tensor([(row.start, row.length) for row in rows], device=self._device).T
        positions = torch.arange(max(row.length for row in rows), device=self._device)
        seen = positions < lengths[:, None]
        if window is not None:
            seen = seen & (positions >= lengths[:, None] - window)
        places = torch.where(positions < lengths[:, None], starts[:, None] + positions, starts[:, None])
        return Gathered(places, unseen(~seen, self.shape.dtype)[:, None, None])

    def _prompt(self, row: Row, sharing: int, window: int | None, softcap: float | None) -> Prompt:
        whole = window is None or row.length <= window
        products = sharing * row.count * row.length
        by_head = self._halves and whole and softcap is None and row.length >= _LONG and products <= _MOST_PRODUCTS
        first = row.length - row.count
        last = torch.arange(first if by_head else 0, row.length, device=self._device)
        own = torch.arange(first, row.length, device=self._device)[:, None]
        hidden = last > own if whole else (last > own) | (last <= own - (window or 0))
        mask = unseen(hidden, self.shape.dtype).repeat(sharing, 1)
        return Prompt(row.first, row.count, row.start, row.start + row.length, mask, by_head)


def _alike(pieces: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Rows in groups of similar length: none has less than half of the keys of another in its group."""
    lengths = [end - begin for begin, end in pieces]
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if groups and 2 * lengths[index] >= lengths[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [sorted(group) for group in groups]
