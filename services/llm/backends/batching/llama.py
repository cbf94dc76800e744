"""The forward pass of models built as Llama is, without what costs time between the kernels. Imports torch.

Llama, Mistral, Qwen 2 and 3, SmolLM 2: RMS norm, rotary embedding over whole heads, grouped queries, gated units.
For a small model the library's own forward spends a third of a step outside the kernels; here the projections that read
the same input are one, and the pass is compiled (decision 054). Other models go as they are
(`packed.PackedTransformer`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from services.llm.backends.batching.compiled import compiled, unoptimized
from services.llm.backends.batching.key_values import KeyValues, PoolShape, Row
from services.llm.backends.batching.llama_layers import Entry, LlamaLayers, Norm, Part, Rest
from services.llm.backends.batching.packed import Step
from services.llm.backends.batching.projections import FullProjection, Int8Projection
from services.llm.backends.batching.threads import come_by, meeting, one_core_each

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Values of `model_type`."""
_LEAST_ROWS = 2
"""Sequences that decode in a part: with fewer the weights are read twice for nothing."""
_LEAST_TOKENS = 6
"""Tokens in a part that meets others after every layer."""


class LlamaForward:
    """Takes the weights over from a loaded model, which is of no use any more then.

    Args:
        model: its kind is one of `FAMILIES`.
        shape: of the pool.
        device: where it lies.
        int8: with 8-bit weights; on a CPU only.
        vnni: whether the processor multiplies bytes exactly; else inputs get one bit less.
    """

    def __init__(self, model: Any, shape: PoolShape, device: str, *, int8: bool = False, vnni: bool = True) -> None:
        self.shape = shape
        self.device = device
        config = model.config
        self.vocabulary = int(config.vocab_size)
        heads = int(config.num_attention_heads)
        self._sharing = heads // shape.heads

        def make(*parts: Any) -> torch.nn.Module:
            weight = parts[0].weight.data if len(parts) == 1 else torch.cat([part.weight.data for part in parts])
            biased = parts[0].bias is not None
            bias = torch.cat([part.bias.data for part in parts]) if biased else None
            return Int8Projection(weight, bias, not vnni) if int8 else FullProjection(weight, bias)

        self._rotary = model.model.rotary_emb
        embedding = model.model.embed_tokens.weight.data
        self._dtype = torch.float32 if int8 else embedding.dtype
        head, norm = make(model.lm_head), Norm(model.model.norm)
        window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
        self._signs = torch.tensor([[-1.0], [1.0]], dtype=self._dtype, device=device)
        self._windows: list[int | None] = []
        entries, rests = [], []
        layers = model.model.layers
        for index, layer in enumerate(layers):
            entries.append(Entry(layer, make, heads, shape.heads))
            rests.append(Rest(layer, make, self._kind(getattr(layer.self_attn, "sliding_window", window))))
            layers[index] = torch.nn.Identity()  # its weights go now, not once all are there twice
        if int8:
            embedding = embedding.to(torch.bfloat16)
        self._layers = compiled(LlamaLayers(embedding, self._dtype, entries, rests, norm, head).eval())

    def _kind(self, window: int | None) -> int:
        if window not in self._windows:
            self._windows.append(window)
        return self._windows.index(window)

    def forward(self, step: Step, pool: KeyValues, workers: int = 1) -> torch.Tensor | None:
        """The logits after the wanted tokens, (wanted, vocabulary); None where none are wanted."""
        shares, meet = divided(step.rows, workers)
        parts = self._parts(step, pool, shares)
        if len(parts) > 1:
            one_core_each()
        try:
            with unoptimized():
                x: torch.Tensor = self._layers(parts, meet, pool.layers)
                if not len(x):
                    return None
                # The last layer is large enough for all threads to meet.
                with meeting(max(workers, torch.get_num_threads())):
                    logits: torch.Tensor = self._layers.logits(x)
                    return logits
        except Exception:
            if len(parts) > 1:
                come_by()  # another part may still be writing keys
            raise

    def _parts(self, step: Step, pool: KeyValues, shares: list[list[Row]]) -> list[Part]:
        half = self.shape.head_size // 2
        cos, sin = self._rotary(torch.empty(0, dtype=self._dtype, device=self.device), step.positions[None])
        cos, sin = cos[0].view(-1, 1, 2, half), sin[0].view(-1, 1, 2, half) * self._signs
        parts = []
        begin = 0
        for rows in shares:
            end = begin + sum(row.count for row in rows)
            mine = slice(begin, end)
            wanted = step.wanted
            if len(shares) > 1:
                wanted = wanted[(wanted >= begin) & (wanted < end)] - begin
            seen = [pool.seen(rows, self._sharing, window) for window in self._windows]
            parts.append(Part(step.tokens[mine], step.places[mine], cos[mine], sin[mine], seen, wanted))
            begin = end
        return parts


def divided(rows: Sequence[Row], most: int) -> tuple[list[list[Row]], bool]:
    """Rows for each of at most so many threads, about as many tokens each.

    Returns:
        The rows of each part, counted from its own first token; whether one part sees tokens of another.
    """
    tokens = sum(row.count for row in rows)
    parts = min(most, tokens // (_LEAST_ROWS if tokens == len(rows) else _LEAST_TOKENS))
    if parts < 2:
        return [list(rows)], False
    shares: list[list[Row]] = []
    meet = False
    left = list(rows)
    for part in range(parts):
        begin, end = part * tokens // parts, (part + 1) * tokens // parts
        share = []
        while left and left[0].first < end:
            row = left.pop(0)
            if row.first + row.count > end:
                row, rest = row.cut(end - row.first)
                left.insert(0, rest)
                meet = True
            share.append(replace(row, first=row.first - begin))
        shares.append(share)
    return shares, meet
