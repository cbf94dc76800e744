"""Attention over pieces of the pool of keys and values. Imports torch.

The functions are compiled by `torch.jit` as parts of a forward pass of ours (`llama_layers.py`), and called as they are
by models of the library (`packed.py`): what `torch.jit` does not understand has no place here.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class Together(NamedTuple):
    """Rows of one token whose keys and values are brought side by side, so that each product is one call for all.

    Attributes:
        rows: their indices, (rows,), int64.
        pieces: where the keys of each lie in the pool: the first, and the one after the last.
        copies: where keys, and then values, of each are copied to: (heads, its keys, head size).
        keys: those of all, (rows * heads, head size, most keys).
        values: (rows * heads, most keys, head size).
        mask: what is added to the products: (rows * heads, 1, most keys).
    """

    rows: Tensor
    pieces: list[tuple[int, int]]
    copies: list[Tensor]
    keys: Tensor
    values: Tensor
    mask: Tensor


class Gathered(NamedTuple):
    """All rows of one token in one call, over keys and values that are gathered from the pool.

    Attributes:
        places: of each row's keys in the pool, (rows, most keys).
        mask: what is added to the products: (rows, 1, 1, most keys).
    """

    places: Tensor
    mask: Tensor


class Prompt(NamedTuple):
    """A row of several tokens, which see what stands before them and each other up to themselves.

    Attributes:
        first: index of its first token in the step.
        tokens: how many.
        begin: place of its first key in the pool.
        end: place after its last key.
        mask: what is added to the products with the last keys: (heads that share keys * tokens, last keys).
        by_head: one product after another, instead of torch's fused call.
    """

    first: int
    tokens: int
    begin: int
    end: int
    mask: Tensor
    by_head: bool


class Seen(NamedTuple):
    """What the tokens of a step see in each layer; rows of one token come first, in one of three ways.

    Attributes:
        singles: how many rows of one token there are.
        pieces: of each that attends alone, the place of its first key and the one after its last.
        together: groups that attend in one call each.
        gathered: all in one call.
        prompts: the rows of several tokens.
    """

    singles: int
    pieces: list[tuple[int, int]]
    together: list[Together]
    gathered: list[Gathered]
    prompts: list[Prompt]


def attend(keys: Tensor, values: Tensor, query: Tensor, seen: Seen, scale: float, softcap: float | None) -> Tensor:
    """Each token's attention to its own sequence, in one layer.

    Args:
        keys: the layer's, (key/value heads, capacity of the pool, head size); those of the new tokens are there.
        values: as `keys`.
        query: (tokens, heads of queries, head size), of the pool's number format.
        seen: what each token sees.
        scale: of the products.
        softcap: bounds the products (Gemma 2: cap * tanh(product / cap)).

    Returns:
        (tokens, heads of queries, head size).
    """
    size = query.shape[2]
    # The heads that share keys are like tokens that see the same: nothing is copied, and keys are read once for all.
    groups = query.view(query.shape[0], keys.shape[0], -1, size)
    singles = groups[: seen.singles]
    done: list[Tensor] = []
    for row, (begin, end) in enumerate(seen.pieces):
        key, value = keys[None, :, begin:end], values[None, :, begin:end]
        done.append(_fused(singles[row : row + 1], key, value, None, scale, softcap))
    if len(seen.together) == 1:
        done.append(_together(keys, values, singles, seen.together[0], scale))
    elif len(seen.together) > 1:
        result = torch.empty_like(singles)
        for group in seen.together:
            result[group.rows] = _together(keys, values, singles[group.rows], group, scale)
        done.append(result)
    for places, mask in seen.gathered:
        done.append(
            _fused(singles, keys[:, places].transpose(0, 1), values[:, places].transpose(0, 1), mask, scale, softcap)
        )
    done += [_prompt(keys, values, groups, prompt, scale, softcap) for prompt in seen.prompts]
    return (done[0] if len(done) == 1 else torch.cat(done)).view(query.shape)


def _together(keys: Tensor, values: Tensor, query: Tensor, group: Together, scale: float) -> Tensor:
    originals: list[Tensor] = []
    for begin, end in group.pieces:
        originals.append(keys[:, begin:end])
    for begin, end in group.pieces:
        originals.append(values[:, begin:end])
    torch._foreach_copy_(group.copies, originals)
    flat = query.reshape(group.values.shape[0], -1, query.shape[3])
    products = torch.baddbmm(group.mask, flat, group.keys, alpha=scale)
    return torch.bmm(torch.softmax(products, -1), group.values).view(query.shape)


def _prompt(
    keys: Tensor, values: Tensor, groups: Tensor, prompt: Prompt, scale: float, softcap: float | None
) -> Tensor:
    heads, sharing, size = groups.shape[1], groups.shape[2], groups.shape[3]
    query = groups[prompt.first : prompt.first + prompt.tokens].permute(1, 2, 0, 3).reshape(1, heads, -1, size)
    key, value = keys[:, prompt.begin : prompt.end], values[:, prompt.begin : prompt.end]
    if prompt.by_head:
        # Rounded as the models' eager attention rounds. All heads at once would copy their keys.
        seen: list[Tensor] = []
        for head in range(heads):
            products = torch.mm(query[0, head] * scale, key[head].t())
            products[:, products.shape[1] - prompt.mask.shape[1] :] += prompt.mask
            seen.append(torch.mm(torch.softmax(products, -1), value[head]))
        result = torch.stack(seen)
    else:
        result = _fused(query, key[None], value[None], prompt.mask, scale, softcap)
    return result.view(heads, sharing, prompt.tokens, size).permute(2, 0, 1, 3)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, softcap: float | None
) -> Tensor:
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    products = softcap * torch.tanh(torch.matmul(query, key.transpose(2, 3)) * (scale / softcap))
    if mask is not None:
        products = products + mask
    return torch.matmul(torch.softmax(products.float(), -1).to(value.dtype), value)


def unseen(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to products so that those that are hidden (True) count for nothing."""
    return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -math.inf)
