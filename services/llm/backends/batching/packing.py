"""Chooses how a loaded model computes packed steps, and checks that it computes the same. Imports torch."""

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from services.llm.backends.batching.key_values import KeyValues, Row
from services.llm.backends.batching.llama import FAMILIES, LlamaForward
from services.llm.backends.batching.memory import give_back_memory
from services.llm.backends.batching.packed import PackedModel, PackedTransformer, Step, can_pack, pool_shape
from services.llm.backends.causal_lm import LoadedModel
from services.llm.backends.quantization import quantize
from services.llm.processor import has_vnni, prefers_bfloat16

log = logging.getLogger(__name__)

_ALIKE = {"": 0.999, "int8": 0.9}
"""Least cosine of the logits' angle to those of the model as it is loaded; wrong attention gives far less."""


def pack(loaded: LoadedModel, quantization: str, reload: Callable[[], LoadedModel]) -> PackedModel | None:
    """The model for the engine; None where it has to go one answer at a time.

    Args:
        loaded: its weights are taken over.
        quantization: "int8" or "".
        reload: loads the model again, where a way has been tried and the weights are gone.
    """
    if not can_pack(loaded.model):
        log.info("the model has layers or attention that cannot be batched: it answers one after another")
        return None
    tokens = loaded.tokenizer("The quick brown fox jumps over the lazy dog.", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        expected = loaded.model(torch.tensor([tokens], device=loaded.device), use_cache=False).logits[0, -1].float()
    ways = (_as_llama, _as_it_is) if loaded.model.config.model_type in FAMILIES else (_as_it_is,)
    for number, way in enumerate(ways):
        try:
            model = way(loaded if not number else reload(), quantization)
            alike = _alike(model, tokens, expected)
        except Exception:
            log.info("a way to batch this model does not work", exc_info=True)
            continue
        if alike >= _ALIKE[quantization]:
            loaded.model = None
            gc.collect()
            give_back_memory()
            return model
        log.info("a way to batch this model computes something else", extra={"alike": alike})
    return None


def _as_llama(loaded: LoadedModel, quantization: str) -> PackedModel:
    int8 = quantization == "int8"
    # With weights that are rounded, half the memory for keys and values is worth more than their last bits.
    dtype = torch.bfloat16 if int8 and prefers_bfloat16() else loaded.dtype
    shape = pool_shape(loaded.model.config, dtype)
    return LlamaForward(loaded.model, shape, loaded.device, int8=int8, vnni=has_vnni())


def _as_it_is(loaded: LoadedModel, quantization: str) -> PackedModel:
    model: Any = loaded.model
    if quantization:
        quantize(model, loaded.device, str(loaded.dtype).removeprefix("torch."))
    return PackedTransformer(model, pool_shape(model.config.get_text_config(), loaded.dtype), loaded.device)


def _alike(model: PackedModel, tokens: list[int], expected: torch.Tensor) -> float:
    """The cosine between the logits after the last token and those expected, with the tokens in two steps."""
    half = len(tokens) // 2
    pool = KeyValues(model.shape, len(tokens), model.device)
    logits = None
    with torch.inference_mode():
        for begin, end in ((0, half), (half, len(tokens))):
            numbers = torch.arange(begin, end, device=model.device)
            step = Step(
                torch.tensor(tokens[begin:end], device=model.device),
                numbers,
                numbers,
                [Row(0, end - begin, 0, end)],
                torch.tensor([end - begin - 1], device=model.device),
            )
            logits = model.forward(step, pool)
    assert logits is not None, "the last token's were wanted"
    return float(torch.cosine_similarity(logits[0].float(), expected, dim=0))
