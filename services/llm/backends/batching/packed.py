"""Forward passes over the new tokens of many sequences, packed into one row. Imports torch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

from services.llm.backends.batching.attention import Seen, attend
from services.llm.backends.batching.key_values import KeyValues, PoolShape, Row

_NAMES = itertools.count()


@dataclass(frozen=True)
class Step:
    """What a step computes.

    Attributes:
        tokens: the new tokens of all rows, (tokens,), int64.
        positions: of each in its own sequence.
        places: of each in the pool.
        rows: the sequences; those with one token come first.
        wanted: indices of the tokens after which logits are wanted.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    rows: Sequence[Row]
    wanted: torch.Tensor


class PackedModel(Protocol):
    """A language model that takes steps."""

    shape: PoolShape
    device: str
    vocabulary: int

    def forward(self, step: Step, pool: KeyValues, workers: int = 1) -> torch.Tensor | None:
        """The logits after the wanted tokens, (wanted, vocabulary); None where none are wanted.

        Args:
            step: what to compute.
            pool: where keys and values lie.
            workers: threads that may each take a part of it; 1: torch's threads meet in each of its operations.
        """


class PackedTransformer:
    """A model of the transformers library as it is; only its attention is ours, through `AttentionInterface`.

    That is how other servers run such models, too: without a mask, keys and values kept outside of the model.
    """

    def __init__(self, model: Any, shape: PoolShape, device: str) -> None:
        self.shape = shape
        self.device = device
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self._model = model
        self._step: Step | None = None
        self._pool: KeyValues | None = None
        self._seen: dict[tuple[int | None, float | None], Seen] = {}
        name = f"parley_packed_{next(_NAMES)}"
        AttentionInterface.register(name, self._attend)
        model.set_attn_implementation(name)

    def forward(self, step: Step, pool: KeyValues, workers: int = 1) -> torch.Tensor | None:
        self._step, self._pool, self._seen = step, pool, {}
        outputs = self._model(
            input_ids=step.tokens[None],
            position_ids=step.positions[None],
            use_cache=False,
            logits_to_keep=step.wanted if len(step.wanted) else 1,
        )
        return outputs.logits[0] if len(step.wanted) else None

    def _attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention as the models call it: (1, heads, tokens, head size) in, (1, tokens, heads, head size) out."""
        step, pool = self._step, self._pool
        assert step is not None, "only forward calls the model"
        assert pool is not None, "only forward calls the model"
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        keys, values = pool.layers[module.layer_idx * 2 : module.layer_idx * 2 + 2]
        keys.index_copy_(1, step.places, key[0].to(keys.dtype))
        values.index_copy_(1, step.places, value[0].to(keys.dtype))
        kind = sliding_window, softcap
        if kind not in self._seen:
            self._seen[kind] = pool.seen(step.rows, query.shape[1] // key.shape[1], sliding_window, softcap)
        queries = query[0].transpose(0, 1).contiguous().to(keys.dtype)
        return attend(keys, values, queries, self._seen[kind], scale, softcap)[None].to(query.dtype), None


def pool_shape(config: Any, dtype: torch.dtype) -> PoolShape:
    """What a token takes by a model's configuration."""
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    key_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    return PoolShape(int(config.num_hidden_layers), key_heads, size, dtype)


def can_pack(model: Any) -> bool:
    """Whether a model's attention can be ours: every layer sees all that stands before, or a window of it."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and not getattr(config, "is_encoder_decoder", False)
        and kinds <= {"full_attention", "sliding_attention"}
        and hasattr(config, "num_attention_heads")
    )
