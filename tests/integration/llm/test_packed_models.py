"""Kinds of models through the packed forward passes: the same tokens as the library's own `generate`."""

import copy
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from services.llm.backends.batching.llama import FAMILIES, LlamaForward
from services.llm.backends.batching.packed import PackedModel, PackedTransformer, can_pack, pool_shape
from tests.support.tiny_engine import ask, prompt, running

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama with biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama 3 rope": LlamaConfig(
        **SIZES,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    ),
    "mistral with a window": MistralConfig(**SIZES, sliding_window=16),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=32),
    "gemma2": Gemma2Config(**SIZES, head_dim=16, sliding_window=16, query_pre_attn_scalar=16),
    "phi3": Phi3Config(**SIZES),
}


def tiny(config: PretrainedConfig) -> Any:
    """A model with random weights, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    for name, weights in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weights)
    return model


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_in_a_batch_answers_as_alone(kind: str) -> None:
    config = CONFIGS[kind]
    reference = tiny(config)
    assert can_pack(reference)
    prompts = [prompt(length, length) for length in (3, 40, 70)]
    expected = []
    for tokens in prompts:
        ids = torch.tensor([tokens])
        with torch.inference_mode():
            answer = reference.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, eos_token_id=None
            )
        expected.append([int(token) for token in answer[0, len(tokens) :]])
    for make in (LlamaForward, PackedTransformer) if config.model_type in FAMILIES else (PackedTransformer,):
        model: PackedModel = make(tiny(config), pool_shape(config, torch.float32), "cpu")
        with running(model) as engine:
            for _ in ("cold", "warm"):
                heard = [ask(engine, tokens, 20) for tokens in prompts]
                assert [one.answer() for one in heard] == expected


def test_eight_bit_weights_stay_close_and_do_not_depend_on_who_else_is_there() -> None:
    config = CONFIGS["llama with biases"]
    reference = tiny(config)
    tokens = torch.tensor([prompt(40, 1)])
    with torch.inference_mode():
        exact = reference(tokens).logits[0, -1]
    model = LlamaForward(tiny(config), pool_shape(config, torch.float32), "cpu", int8=True)
    with running(model) as engine:
        alone = ask(engine, prompt(40, 1), 20).answer()
    with running(model) as engine:
        together = [ask(engine, prompt(length, length), 20) for length in (3, 60, 70)]
        assert ask(engine, prompt(40, 1), 20).answer() == alone
        assert all(len(heard.answer()) == 20 for heard in together)
    assert alone[0] in exact.topk(3).indices


def test_models_without_an_attention_of_ours_are_told() -> None:
    config = GPT2Config(vocab_size=300, n_embd=64, n_layer=1, n_head=2)
    config.layer_types = ["linear_attention"]
    assert not can_pack(tiny(config))
