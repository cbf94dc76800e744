"""Generation parameters as mlx-lm's samplers and logits processors. Imports mlx."""

from collections.abc import Callable, Sequence

import mlx.core as mx
from mlx_lm.sample_utils import (
    make_frequency_penalty,
    make_presence_penalty,
    make_repetition_penalty,
    make_sampler,
)

from services.llm.backends.generation_options import GenerationPlan

Processor = Callable[[mx.array, mx.array], mx.array]
"""All tokens that were read since the call began, and the logits of the next one, shaped (1, vocabulary)."""

_ALL = 1 << 30
"""Tokens that a penalty looks back at: mlx-lm's own default is 20, those who name these penalties mean all."""


def sampler(plan: GenerationPlan, vocabulary: int) -> Callable[[mx.array], mx.array]:
    """Chooses the next token from log-probabilities."""
    given = plan.parameters
    top_k = int(given.get("top_k", 0))
    return make_sampler(
        temp=plan.temperature or 0.0,
        top_p=float(given.get("top_p", 0.0)),
        min_p=float(given.get("min_p", 0.0)),
        top_k=top_k if top_k < vocabulary else 0,
        xtc_probability=float(given.get("xtc_probability", 0.0)),
        xtc_threshold=float(given.get("xtc_threshold", 0.1)),
    )


def processors(plan: GenerationPlan, prompt: Sequence[int], read: int, ends: frozenset[int]) -> list[Processor]:
    """What changes the logits before a token is chosen.

    Args:
        prompt: the whole prompt.
        read: its tokens that a cache holds, which mlx-lm therefore does not hand to processors.
        ends: tokens that end an answer.
    """
    given, made = plan.parameters, list[Processor]()
    unread = len(prompt) - read
    penalty = given.get("repetition_penalty", 1.0)
    if penalty != 1.0:
        made.append(_after(make_repetition_penalty(float(penalty), _ALL), mx.array(list(prompt[:read]))))
    # The formula of OpenAI's API reference ("Frequency and presence penalties"), in which the prompt does not count.
    if plan.frequency_penalty:
        made.append(_answer_alone(make_frequency_penalty(plan.frequency_penalty, _ALL), unread))
    if plan.presence_penalty:
        made.append(_answer_alone(make_presence_penalty(plan.presence_penalty, _ALL), unread))
    if given.get("suppress_tokens"):
        made.append(_without(given["suppress_tokens"]))
    if plan.min_new_tokens:
        made.append(_until(unread + plan.min_new_tokens, _without(sorted(ends))))
    return made


def _after(process: Processor, before: mx.array) -> Processor:
    """A penalty sees the cached tokens, too: else a warm answer would differ from a cold one."""
    if not before.size:
        return process
    return lambda tokens, logits: process(mx.concatenate([before.astype(tokens.dtype), tokens]), logits)


def _answer_alone(process: Processor, unread: int) -> Processor:
    return lambda tokens, logits: process(tokens[unread:], logits)


def _until(length: int, process: Processor) -> Processor:
    return lambda tokens, logits: process(tokens, logits) if len(tokens) < length else logits


def _without(banned: Sequence[int]) -> Processor:
    indices = mx.array(list(banned))

    def process(_: mx.array, logits: mx.array) -> mx.array:
        logits[:, indices] = -mx.inf
        return logits

    return process
