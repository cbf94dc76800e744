"""The pool of keys and values, and attention over the pieces of it that belong to each sequence. Imports torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from services.llm.backends.batching.halves import DecodeAttention, prompt_attention
from services.llm.backends.batching.helper import Helper
from services.llm.backends.batching.prefixes import Copy

_LONG = 512
"""Keys of a prompt, or of all that decode, from which on there is a way of its own for bfloat16; with fewer its calls
cost more than they save."""
_MOST_PRODUCTS = 1 << 23
"""Products of a head's queries with its keys that are held at once: 16 MiB."""
_MOST_COPIED = 64 << 20
"""Bytes of a layer's keys and values that are brought side by side for those that decode."""


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


class KeyValues:
    """Keys and values of `capacity` tokens: (layers * 2, 1, heads, capacity, head size), keys at the even indices.

    On a CPU memory is taken page by page as it is written, so a pool that is not full costs what is in it.

    Args:
        shape: of a token.
        capacity: tokens.
        device: where it lies.
        gathers: whether sequences that decode attend in one call, over a copy of their keys and values that are brought
            side by side. That pays where every call is a launch; a processor is faster with each sequence's own keys.
            None: not on a CPU.
    """

    def __init__(self, shape: PoolShape, capacity: int, device: str, *, gathers: bool | None = None) -> None:
        self.gathers = device != "cpu" if gathers is None else gathers
        self.shape = shape
        self.capacity = capacity
        size = (shape.layers * 2, 1, shape.heads, capacity, shape.head_size)
        self._data = torch.empty(size, dtype=shape.dtype, device=device)
        self._layers = self._data.unbind(0)
        self._step: _Step | None = None

    def copy(self, copies: Sequence[Copy]) -> None:
        """Move keys and values, one after another, in pieces that do not overlap: a copy of all would be megabytes."""
        for copy in copies:
            most = abs(copy.source - copy.target)
            pieces = range(0, copy.count, most) if most else ()
            for first in pieces if copy.target < copy.source else reversed(pieces):
                count = min(most, copy.count - first)
                source = self._data.narrow(-2, copy.source + first, count)
                self._data.narrow(-2, copy.target + first, count).copy_(source)

    def begin(self, rows: Sequence[Row], places: torch.Tensor, helper: Helper | None = None) -> None:
        """Say what the next step is about.

        Args:
            rows: those with one token first.
            places: each token's, int64.
            helper: takes a part of what is long.
        """
        self._step = _Step(self, rows, places, helper)

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Keep the new tokens' keys and values of a layer, and attend to all of each token's own sequence.

        Args:
            layer: its index.
            query: (tokens, heads of queries, head size).
            key: (key/value heads, tokens, head size), rotated.
            value: as `key`.
            scale: of the products.
            window: tokens that a token sees at most, itself included; None: all.
            softcap: bounds the products (Gemma 2: cap * tanh(product / cap)).

        Returns:
            (tokens, heads of queries, head size).
        """
        step = self._step
        assert step is not None, "begin comes first"
        dtype = query.dtype
        if key.dtype != self.shape.dtype:
            query, key, value = query.to(self.shape.dtype), key.to(self.shape.dtype), value.to(self.shape.dtype)
        self._layers[layer * 2][0].index_copy_(1, step.places, key)
        self._layers[layer * 2 + 1][0].index_copy_(1, step.places, value)
        heads, size = query.shape[1:]
        groups = query.view(-1, self.shape.heads, heads // self.shape.heads, size)
        done = step.decode(layer, groups, scale, window, softcap)
        done += [step.prompt(layer, row, groups, scale, window, softcap) for row in step.prompts]
        result = done[0] if len(done) == 1 else torch.cat(done)
        return result.view(-1, heads, size).to(dtype)


class _Step:
    """Rows of one step, with what all layers share: views of the pool, masks."""

    def __init__(self, pool: KeyValues, rows: Sequence[Row], places: torch.Tensor, helper: Helper | None) -> None:
        self.places = places
        self._helper = helper
        self._data = pool._data
        self._layers = pool._layers
        self._single = [row for row in rows if row.count == 1]
        self.prompts = [row for row in rows if row.count > 1]
        self._halves = places.device.type == "cpu" and pool.shape.dtype == torch.bfloat16
        self._gathers = pool.gathers and len(self._single) > 1
        keys = sum(row.length for row in self._single)
        copied = keys * pool.shape.token_bytes // pool.shape.layers
        self._many_keys = self._halves and keys >= _LONG and copied <= _MOST_COPIED
        self._views = [self._row_views(row) for row in ([] if self._gathers else self._single)]
        self._gathered: dict[int | None, tuple[torch.Tensor, torch.Tensor]] = {}
        self._decodes: dict[int | None, DecodeAttention] = {}
        self._masks: dict[tuple[int, int, int | None], torch.Tensor] = {}

    def _row_views(self, row: Row) -> tuple[torch.Tensor, ...]:
        return self._data[:, 0, :, row.start : row.start + row.length].unbind(0)

    def decode(
        self, layer: int, groups: torch.Tensor, scale: float, window: int | None, softcap: float | None
    ) -> list[torch.Tensor]:
        """The rows of one token: its heads that share keys are like tokens that see the same."""
        if not self._single:
            return []
        if self._gathers:
            return [self._decode_gathered(layer, groups[: len(self._single)], scale, window, softcap)]
        if self._many_keys and softcap is None:
            if window not in self._decodes:
                rows = [[view[:, -(window or 0) :] for view in views] for views in self._views]
                self._decodes[window] = DecodeAttention(rows, self._helper)
            return [self._decodes[window].attend(layer, groups[: len(self._single)], scale)]
        results = []
        for views, query in zip(self._views, torch.split(groups[: len(self._single)], 1), strict=True):
            key, value = views[layer * 2], views[layer * 2 + 1]
            if window is not None and key.shape[1] > window:
                key, value = key[:, -window:], value[:, -window:]
            results.append(_attention(query, key[None], value[None], None, scale, softcap))
        return results

    def _decode_gathered(
        self, layer: int, groups: torch.Tensor, scale: float, window: int | None, softcap: float | None
    ) -> torch.Tensor:
        if window not in self._gathered:
            device = self.places.device
            starts, lengths = torch.tensor([(row.start, row.length) for row in self._single], device=device).T
            positions = torch.arange(max(row.length for row in self._single), device=device)
            seen = positions < lengths[:, None]
            if window is not None:
                seen = seen & (positions >= lengths[:, None] - window)
            places = torch.where(positions < lengths[:, None], starts[:, None] + positions, starts[:, None])
            mask = torch.zeros(seen.shape, dtype=self._data.dtype, device=device).masked_fill_(~seen, -math.inf)
            self._gathered[window] = (places, mask[:, None, None])
        places, mask = self._gathered[window]
        key = self._layers[layer * 2][0][:, places].transpose(0, 1)
        value = self._layers[layer * 2 + 1][0][:, places].transpose(0, 1)
        return _attention(groups, key, value, mask, scale, softcap)

    def prompt(
        self, layer: int, row: Row, groups: torch.Tensor, scale: float, window: int | None, softcap: float | None
    ) -> torch.Tensor:
        """A row of several tokens, which see what stands before them and each other up to themselves."""
        heads, per_head, size = groups.shape[1:]
        # The heads that share keys are one head with more tokens: nothing is copied, and keys are read once for all.
        query = groups[row.first : row.first + row.count].permute(1, 2, 0, 3).reshape(1, heads, -1, size)
        piece = slice(row.start, row.start + row.length)
        key, value = self._layers[layer * 2][:, :, piece], self._layers[layer * 2 + 1][:, :, piece]
        whole = softcap is None and (window is None or row.length <= window)
        if self._halves and whole and row.length >= _LONG and query.shape[2] * row.length <= _MOST_PRODUCTS:
            result = prompt_attention(query, key, value, self._mask(row, per_head, row.count), scale, self._helper)
        else:
            result = _attention(query, key, value, self._mask(row, per_head, row.length, window), scale, softcap)
        return result.view(heads, per_head, row.count, size).permute(2, 0, 1, 3).contiguous()

    def _mask(self, row: Row, per_head: int, last: int, window: int | None = None) -> torch.Tensor:
        """What is added to the products of each token with each of the last keys: 0 where it sees it."""
        which = (row.first, last, window)
        if which not in self._masks:
            device = self.places.device
            keys = torch.arange(row.length - last, row.length, device=device)
            own = torch.arange(row.length - row.count, row.length, device=device)[:, None]
            unseen = keys > own if window is None else (keys > own) | (keys <= own - window)
            mask = torch.zeros(unseen.shape, dtype=self._data.dtype, device=device).masked_fill_(unseen, -math.inf)
            self._masks[which] = mask.repeat(per_head, 1)
        return self._masks[which]


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    products = softcap * torch.tanh(torch.matmul(query, key.transpose(2, 3)) * (scale / softcap))
    if mask is not None:
        products = products + mask
    return torch.matmul(torch.softmax(products.float(), -1).to(value.dtype), value)
