"""The tokens that end an answer, whatever a model's files say of them. Pure."""

from collections.abc import Iterable
from typing import Any

from services.common.errors import StartupError

_TURN_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<|return|>"),
    *("<end_of_utterance>", "<turn|>"),
)
"""End-of-turn marks; those that the chat template writes end an answer."""


def end_tokens(tokenizer: Any, known: Iterable[int]) -> frozenset[int]:
    """Every token that ends an answer: those that the model names, the tokenizer's, and those of the chat template.

    Raises:
        StartupError: there is none.
    """
    ends = set(known)
    if tokenizer.eos_token_id is not None:
        ends.add(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_added_vocab()
    ends.update(vocabulary[mark] for mark in _TURN_ENDS if mark in vocabulary and mark in str(tokenizer.chat_template))
    if not ends:
        raise StartupError("--model_name: the model's files name no token that ends an answer")
    return frozenset(ends)
