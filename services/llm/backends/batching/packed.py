"""Forward passes over the new tokens of many sequences, packed into one row. Imports torch."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AttentionInterface

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

    def forward(self, step: Step, pool: KeyValues) -> torch.Tensor | None:
        """The logits after the wanted tokens, (wanted, vocabulary); None where none are wanted."""


class PackedTransformer:
    """A model of the transformers library as it is; only its attention is ours, through `AttentionInterface`.

    That is how other servers run such models, too: without a mask, keys and values kept outside of the model.
    """

    def __init__(self, model: Any, shape: PoolShape, device: str) -> None:
        self.shape = shape
        self.device = device
        self.vocabulary = int(model.config.get_text_config().vocab_size)
        self._model = model
        self._pool: KeyValues | None = None
        name = f"parley_packed_{next(_NAMES)}"
        AttentionInterface.register(name, self._attend)
        model.set_attn_implementation(name)

    def forward(self, step: Step, pool: KeyValues) -> torch.Tensor | None:
        self._pool = pool
        pool.begin(step.rows, step.places)
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
        assert self._pool is not None, "only forward calls the model"
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        queries = query[0].transpose(0, 1).contiguous()
        result = self._pool.attend(module.layer_idx, queries, key[0], value[0], scale, sliding_window, softcap)
        return result[None], None


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
