"""The forward pass of models built as Llama is, without what costs time between the kernels. Imports torch.

Llama, Mistral, Qwen 2 and 3, SmolLM 2: RMS norm, rotary embedding over whole heads, grouped queries, gated units.
For a small model on a CPU the library's own forward spends a third of a step outside the kernels; here the projections
that read the same input are one, and norms are one call. Other models go as they are (`packed.PackedTransformer`).
"""

import warnings
from typing import Any, Protocol

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu

from services.llm.backends.batching.key_values import KeyValues, PoolShape
from services.llm.backends.batching.meeting import Meeting
from services.llm.backends.batching.packed import Step

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Values of `model_type`."""


class Projection(Protocol):
    """A linear layer: (tokens, in) to (tokens, out)."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""


class FullProjection:
    """A linear layer in the model's own number format."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, meeting: Meeting) -> None:
        self._weight = weight
        self._bias = bias
        self._meeting = meeting

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with self._meeting.linear(len(x), self._weight.numel()):
            return linear(x, self._weight, self._bias)


class _Scratch:
    """Inputs of 8-bit layers, by their size, each token brought to the range from -1 to 1.

    The kernel takes its scale from the least and the greatest of all its inputs. The first row holds both, always: so
    the rounding of a token depends on nothing but the token, and an answer not on who else is in the batch.
    """

    def __init__(self) -> None:
        self._rows: dict[int, torch.Tensor] = {}

    def rows(self, count: int, size: int) -> torch.Tensor:
        """(count + 1, size), float32."""
        rows = self._rows.get(size)
        if rows is None or len(rows) <= count:
            rows = self._rows[size] = torch.zeros(max(64, count + 1), size)
            rows[0, 0], rows[0, 1] = 1.0, -1.0
        return rows[: count + 1]


class Int8Projection:
    """A linear layer with 8-bit weights, scaled by output, on inputs that are rounded to 8 bits, scaled by token."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        meeting: Meeting,
        scratch: _Scratch,
        *,
        reduce_range: bool,
    ) -> None:
        weight = weight.float()
        scales = weight.abs().amax(1).clamp_min(1e-8).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # torch points to a package of its own for this; the kernel works, and nothing else here needs that package.
            warnings.simplefilter("ignore")
            eights = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(eights, None)
        self._bias = bias
        self._weights = weight.numel()
        self._meeting = meeting
        self._scratch = scratch
        self._reduce_range = reduce_range

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        size = x.abs().amax(1, keepdim=True).clamp_min_(1e-8)
        rows = self._scratch.rows(*x.shape)
        torch.div(x, size, out=rows[1:])
        with self._meeting.linear(len(rows), self._weights):
            y: torch.Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        y = y[1:].mul_(size)
        return y if self._bias is None else y.add_(self._bias)


class _Layer:
    """One layer's parts. Small weights are copied: a view of them would keep the whole file of weights mapped."""

    def __init__(self, layer: Any, make: Any, window: int | None) -> None:
        attention, gate = layer.self_attn, layer.mlp
        self.norm = layer.input_layernorm.weight.data.clone()
        self.eps = float(layer.input_layernorm.variance_epsilon)
        self.qkv = make(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = make(attention.o_proj)
        self.scale = float(attention.scaling)
        self.window = getattr(attention, "sliding_window", window)
        self.q_norm = attention.q_norm.weight.data.clone() if hasattr(attention, "q_norm") else None
        self.k_norm = attention.k_norm.weight.data.clone() if hasattr(attention, "k_norm") else None
        self.norm2 = layer.post_attention_layernorm.weight.data.clone()
        self.gate_up = make(gate.gate_proj, gate.up_proj)
        self.down = make(gate.down_proj)


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
        self._heads = int(config.num_attention_heads)
        self._inner = int(config.intermediate_size)

        self._meeting = meeting = Meeting(device)
        scratch = _Scratch()

        def make(*parts: Any) -> Projection:
            weight = parts[0].weight.data if len(parts) == 1 else torch.cat([part.weight.data for part in parts])
            biased = parts[0].bias is not None
            bias = torch.cat([part.bias.data for part in parts]) if biased else None
            if int8:
                return Int8Projection(weight, bias, meeting, scratch, reduce_range=not vnni)
            return FullProjection(weight, bias, meeting)

        self._rotary = model.model.rotary_emb
        self._norm = model.model.norm.weight.data.clone()
        self._eps = float(model.model.norm.variance_epsilon)
        self._head = make(model.lm_head)
        self._embedding = model.model.embed_tokens.weight.data
        if int8:
            self._embedding = self._embedding.to(torch.bfloat16)
        self._dtype = torch.float32 if int8 else self._embedding.dtype
        self._layers = []
        layers = model.model.layers
        window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
        for index in range(len(layers)):
            self._layers.append(_Layer(layers[index], make, window))
            layers[index] = torch.nn.Identity()  # its weights go now, not once all are there twice

    def forward(self, step: Step, pool: KeyValues) -> torch.Tensor | None:
        """The logits after the wanted tokens, (wanted, vocabulary); None where none are wanted."""
        self._meeting.begin(len(step.tokens))
        try:
            return self._forward(step, pool)
        finally:
            self._meeting.end()

    def _forward(self, step: Step, pool: KeyValues) -> torch.Tensor | None:
        pool.begin(step.rows, step.places, self._meeting.helper)
        heads, size = self._heads, self.shape.head_size
        rotated_heads = heads + self.shape.heads
        x = embedding(step.tokens, self._embedding).to(self._dtype)
        cos, sin = self._rotary(x, step.positions[None])
        cos = cos[0].view(-1, 1, 2, size // 2)
        sin = sin[0].view(-1, 1, 2, size // 2) * torch.tensor([[-1.0], [1.0]], dtype=x.dtype, device=x.device)
        last = len(self._layers) - 1
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(rms_norm(x, x.shape[-1:], layer.norm, layer.eps)).view(len(x), -1, size)
            turning = qkv[:, :rotated_heads]
            if layer.q_norm is not None:
                turning = torch.cat(
                    (
                        rms_norm(qkv[:, :heads], (size,), layer.q_norm, layer.eps),
                        rms_norm(qkv[:, heads:rotated_heads], (size,), layer.k_norm, layer.eps),
                    ),
                    1,
                )
            halves = turning.unflatten(2, (2, size // 2))
            turned = (halves * cos).addcmul_(halves.flip(2), sin).flatten(2)
            key, value = turned[:, heads:].transpose(0, 1), qkv[:, rotated_heads:].transpose(0, 1)
            with self._meeting.attention(step.rows, self.shape, heads):
                seen = pool.attend(index, turned[:, :heads], key, value, layer.scale, layer.window)
            if index == last:
                if not len(step.wanted):
                    return None
                x, seen = x[step.wanted], seen[step.wanted]
            x += layer.out(seen.reshape(len(x), -1))
            both = layer.gate_up(rms_norm(x, x.shape[-1:], layer.norm2, layer.eps))
            x += layer.down(silu(both[:, : self._inner], inplace=True).mul_(both[:, self._inner :]))
        return self._head(rms_norm(x, x.shape[-1:], self._norm, self._eps))
