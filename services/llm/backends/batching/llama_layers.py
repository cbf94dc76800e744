"""The layers of models built as Llama is, for `torch.jit`. Imports torch.

A compiled pass runs without the interpreter and its lock: in Python the calls between the kernels took a third of a
step, and the event loop's thread and the engine's waited for each other a thousand times in each.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, rms_norm, silu

from services.llm.backends.batching.attention import Seen, attend


class Part(NamedTuple):
    """Tokens of a step that one thread computes.

    Attributes:
        tokens: (tokens,), int64.
        places: of each in the pool.
        cos: (tokens, 1, 2, head size / 2): what the rotary embedding multiplies the halves of a head with.
        sin: (tokens, 1, 2, head size / 2), the first half's negated.
        seen: what each sees, by the kind of layer.
        wanted: indices of the tokens whose results are wanted.
    """

    tokens: Tensor
    places: Tensor
    cos: Tensor
    sin: Tensor
    seen: list[Seen]
    wanted: Tensor


class Norm(nn.Module):
    """Root mean square normalization over the last dimension, of `norm`'s weights."""

    weight: Tensor

    def __init__(self, norm: Any) -> None:
        super().__init__()
        # A copy: a view would keep the whole file of weights mapped.
        self.register_buffer("weight", norm.weight.data.clone())
        self.eps = float(norm.variance_epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        return rms_norm(x, self.weight.shape, self.weight, self.eps)


class Entry(nn.Module):
    """Where a layer begins: queries, keys and values, rotated; keys and values go to the pool."""

    def __init__(self, layer: Any, make: Any, heads: int, key_heads: int) -> None:
        super().__init__()
        attention = layer.self_attn
        self.norm = Norm(layer.input_layernorm)
        self.project = make(attention.q_proj, attention.k_proj, attention.v_proj)
        self.q_norm = Norm(attention.q_norm) if hasattr(attention, "q_norm") else None
        self.k_norm = Norm(attention.k_norm) if hasattr(attention, "k_norm") else None
        self.heads = heads
        self.rotated = heads + key_heads

    def forward(self, x: Tensor, part: Part, keys: Tensor, values: Tensor) -> Tensor:
        """The queries, (tokens, heads, head size), in the pool's number format."""
        qkv = self.project(self.norm(x)).view(x.shape[0], -1, keys.shape[2])
        turning = qkv[:, : self.rotated]
        if self.q_norm is not None and self.k_norm is not None:
            turning = torch.cat((self.q_norm(qkv[:, : self.heads]), self.k_norm(qkv[:, self.heads : self.rotated])), 1)
        halves = turning.unflatten(2, (2, -1))
        turned = (halves * part.cos).addcmul_(halves.flip(2), part.sin).flatten(2)
        keys.index_copy_(1, part.places, turned[:, self.heads :].transpose(0, 1).to(keys.dtype))
        values.index_copy_(1, part.places, qkv[:, self.rotated :].transpose(0, 1).to(keys.dtype))
        query: Tensor = turned[:, : self.heads].to(keys.dtype)
        return query


class Rest(nn.Module):
    """What follows in a layer: attention, and the gated units; `kind` is the index of what its tokens see."""

    def __init__(self, layer: Any, make: Any, kind: int) -> None:
        super().__init__()
        attention, units = layer.self_attn, layer.mlp
        self.scale = float(attention.scaling)
        self.kind = kind
        self.out = make(attention.o_proj)
        self.norm = Norm(layer.post_attention_layernorm)
        self.gate_up = make(units.gate_proj, units.up_proj)
        self.down = make(units.down_proj)

    def attend(self, query: Tensor, part: Part, keys: Tensor, values: Tensor) -> Tensor:
        """(tokens, heads, head size)."""
        return attend(keys, values, query, part.seen[self.kind], self.scale, None)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(tokens, size): the residual stream after the layer."""
        x = x + self.out(seen.reshape(x.shape[0], -1).to(x.dtype))
        gate, up = self.gate_up(self.norm(x)).chunk(2, 1)
        return x.add_(self.down(silu(gate, inplace=True).mul_(up)))


class Between(nn.Module):
    """From the queries of a layer to those of the next: what a part computes without the others."""

    def __init__(self, rest: Rest, entry: Entry) -> None:
        super().__init__()
        self.rest = rest
        self.entry = entry

    def forward(self, x: Tensor, query: Tensor, part: Part, layer: int, pool: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The residual stream and the queries of the next layer."""
        seen = self.rest.attend(query, part, pool[layer * 2], pool[layer * 2 + 1])
        x = self.rest(x, seen)
        return x, self.entry(x, part, pool[layer * 2 + 2], pool[layer * 2 + 3])


class LlamaLayers(nn.Module):
    """All layers, over one part of a step or over several at the same time.

    Args:
        embedding: (vocabulary, size).
        dtype: what is computed in.
        entries: of each layer, where it begins.
        rests: of each layer, what follows.
        norm: after the last layer.
        head: makes logits of it.
    """

    embedding: Tensor

    def __init__(
        self,
        embedding: Tensor,
        dtype: torch.dtype,
        entries: list[Entry],
        rests: list[Rest],
        norm: Norm,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.register_buffer("embedding", embedding)
        self.dtype = dtype
        self.entry = entries[0]
        self.betweens = nn.ModuleList(map(Between, rests, entries[1:]))
        self.rest = rests[-1]
        self.norm = norm
        self.head = head

    def forward(self, parts: list[Part], meet: bool, pool: list[Tensor]) -> Tensor:
        """The residual stream after the last layer, (wanted, size), normalized.

        Args:
            parts: each but the first has a thread of torch's inter-op pool.
            meet: after every layer they wait for each other, since tokens of one part see those of another.
            pool: keys and values of each layer in turn.
        """
        done = self.side_by_side(parts, pool) if meet else self.apart(parts, pool)
        x: Tensor = self.norm(torch.cat(done))
        return x

    def apart(self, parts: list[Part], pool: list[Tensor]) -> list[Tensor]:
        """Parts that do not see each other."""
        others = [torch.jit.fork(self.alone, part, pool) for part in parts[1:]]  # type: ignore[no-untyped-call]
        done = [self.alone(parts[0], pool)]
        return done + [torch.jit.wait(other) for other in others]  # type: ignore[no-untyped-call]

    def side_by_side(self, parts: list[Part], pool: list[Tensor]) -> list[Tensor]:
        """Parts that see each other's tokens: all have a layer's keys and values in the pool before one goes on."""
        streams = [self.begin(part, pool) for part in parts]
        for layer, between in enumerate(self.betweens):
            others = [
                torch.jit.fork(between, x, query, part, layer, pool)  # type: ignore[no-untyped-call]
                for (x, query), part in zip(streams[1:], parts[1:])  # noqa: B905  torch.jit knows no strict
            ]
            streams = [between(streams[0][0], streams[0][1], parts[0], layer, pool)]
            streams += [torch.jit.wait(other) for other in others]  # type: ignore[no-untyped-call]
        return [self.end(x, query, part, pool) for (x, query), part in zip(streams, parts)]  # noqa: B905

    def alone(self, part: Part, pool: list[Tensor]) -> Tensor:
        """All layers over one part."""
        x, query = self.begin(part, pool)
        for layer, between in enumerate(self.betweens):
            x, query = between(x, query, part, layer, pool)
        return self.end(x, query, part, pool)

    def begin(self, part: Part, pool: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Up to the queries of the first layer."""
        x = embedding(part.tokens, self.embedding).to(self.dtype)
        return x, self.entry(x, part, pool[0], pool[1])

    def end(self, x: Tensor, query: Tensor, part: Part, pool: list[Tensor]) -> Tensor:
        """The last layer, for what is wanted alone."""
        if part.wanted.shape[0] == 0:
            return x[:0]
        seen = self.rest.attend(query, part, pool[-2], pool[-1])
        last: Tensor = self.rest(x[part.wanted], seen[part.wanted])
        return last

    @torch.jit.export
    def logits(self, x: Tensor) -> Tensor:
        """(wanted, vocabulary)."""
        logits: Tensor = self.head(x)
        return logits
