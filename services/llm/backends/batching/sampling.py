"""How each sequence of a batch gets its next token. Imports torch and transformers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    InfNanRemoveLogitsProcessor,
    LogitNormalization,
    LogitsProcessorList,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
from transformers.generation.logits_process import TopHLogitsWarper

from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.penalties import RepetitionPenalties

Choice: TypeAlias = int | Exception
"""A token, or why there is none."""

_DEFAULT_TOP_K = 50
"""What transformers samples from unless it is told otherwise."""


class Sampler:
    """What one sequence does with its logits, made once from its plan.

    Args:
        plan: what the request gets.
        defaults: the model's own generation configuration, for what the plan leaves open.
        prompt_length: tokens before the answer.
        ends: tokens that end an answer; held back until it has its least number of tokens.
        device: where the logits are.
    """

    def __init__(
        self,
        plan: GenerationPlan,
        defaults: Mapping[str, Any],
        prompt_length: int,
        ends: frozenset[int],
        device: str,
    ) -> None:
        values = {name: value for name, value in defaults.items() if value is not None} | dict(plan.parameters)
        self.samples = plan.temperature is not None
        self._prompt_length = prompt_length
        self._min_new_tokens = plan.min_new_tokens
        self._ends = torch.tensor(sorted(ends), device=device)
        self._looking = self._looking_processors(values, plan, device)
        self._whole, self._top_k, self._likeliest, named = _plain_processors(values, plan.temperature, device)
        self._generator: torch.Generator | None = None
        if plan.seed is not None and self.samples:
            self._generator = torch.Generator(device).manual_seed(plan.seed)
        self._key = (plan.temperature, *named)

    @property
    def key(self) -> tuple[Any, ...] | None:
        """Equal for those that may draw together; None for one that draws alone."""
        return None if self._looking or self._generator else self._key

    @property
    def greedy(self) -> bool:
        """Whether it always takes the likeliest token, and changes no logits."""
        return not self.samples and not self._looking and not self._whole

    def hold_back_ends(self, logits: torch.Tensor, tokens: int) -> None:
        """Take the end tokens out of logits (vocabulary,), in place, while the answer has too few tokens.

        Args:
            tokens: of context and answer.
        """
        if tokens - self._prompt_length < self._min_new_tokens:
            logits.index_fill_(0, self._ends, -math.inf)

    def choose(self, logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        """The next token, (1,), of logits (1, vocabulary) after the tokens of the context and the answer."""
        scores = logits.float()
        if self._looking:
            scores = self._looking(torch.tensor([list(tokens)], device=scores.device), scores)  # type: ignore[arg-type]
        return self.draw(scores)

    def draw(self, scores: torch.Tensor) -> torch.Tensor:
        """The next token of each row of scores, (rows,)."""
        scores = _processed(self._whole, scores)
        if not self.samples:
            return scores.argmax(-1)
        if not self._top_k:
            return self._drawn(_processed(self._likeliest, scores))[:, 0]
        # What follows looks at no more tokens than these: of a vocabulary it would take as long as the model.
        scores, tokens = scores.topk(min(self._top_k, scores.shape[-1]))
        return tokens.gather(1, self._drawn(_processed(self._likeliest, scores)))[:, 0]

    def _drawn(self, scores: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(torch.softmax(scores, -1), 1, generator=self._generator)

    def _looking_processors(self, values: Mapping[str, Any], plan: GenerationPlan, device: str) -> LogitsProcessorList:
        """Those that look at the tokens so far, in the order of transformers' `generate`."""
        processors = LogitsProcessorList()
        if plan.frequency_penalty or plan.presence_penalty:
            processors.append(RepetitionPenalties(self._prompt_length, plan.frequency_penalty, plan.presence_penalty))
        if values.get("repetition_penalty", 1.0) != 1.0:
            processors.append(RepetitionPenaltyLogitsProcessor(float(values["repetition_penalty"])))
        if values.get("no_repeat_ngram_size"):
            processors.append(NoRepeatNGramLogitsProcessor(values["no_repeat_ngram_size"]))
        if values.get("bad_words_ids"):
            processors.append(NoBadWordsLogitsProcessor(values["bad_words_ids"], self._ends))
        if values.get("begin_suppress_tokens"):
            processors.append(
                SuppressTokensAtBeginLogitsProcessor(values["begin_suppress_tokens"], self._prompt_length, device)
            )
        return processors


def _plain_processors(
    values: Mapping[str, Any], temperature: float | None, device: str
) -> tuple[LogitsProcessorList, int, LogitsProcessorList, list[tuple[str, Any]]]:
    """Those that look at the scores alone, in the order of transformers' `generate`, and what they are made from.

    Returns:
        Those for the scores of all tokens; how many of the likeliest are kept then, 0: all; those for these; names and
        values of all.
    """
    whole: dict[str, Callable[[Any], Any]] = {
        "remove_invalid_values": lambda value: InfNanRemoveLogitsProcessor() if value else None,
        "suppress_tokens": lambda value: SuppressTokensLogitsProcessor(value, device),
    }
    likeliest: dict[str, Callable[[Any], Any]] = {}
    top_k = 0
    if temperature is not None:
        values = {"top_k": _DEFAULT_TOP_K, **values, "temperature": temperature}
        top_k = int(values["top_k"] or 0)
        likeliest = {
            "temperature": lambda value: TemperatureLogitsWarper(value) if value != 1 else None,
            "top_h": TopHLogitsWarper,
            "top_p": lambda value: TopPLogitsWarper(float(value)) if value < 1 else None,
            "min_p": MinPLogitsWarper,
            "typical_p": lambda value: TypicalLogitsWarper(float(value)) if value < 1 else None,
            "epsilon_cutoff": lambda value: EpsilonLogitsWarper(value) if value else None,
            "eta_cutoff": lambda value: EtaLogitsWarper(value, device=device) if value else None,
        }
        if values.get("top_h") is not None:  # its measure is of all tokens
            whole |= {name: likeliest.pop(name) for name in ("temperature", "top_h")}
    last = likeliest if temperature is not None else whole
    last["renormalize_logits"] = lambda value: LogitNormalization() if value else None
    named = [("top_k", str(top_k))] if top_k else []
    lists = []
    for makers in (whole, likeliest):
        processors = LogitsProcessorList()
        for name, make in makers.items():
            processor = None if values.get(name) is None else make(values[name])
            if processor is not None:
                processors.append(processor)
                named.append((name, str(values[name])))
        lists.append(processors)
    return lists[0], top_k, lists[1], named


def _processed(processors: LogitsProcessorList, scores: torch.Tensor) -> torch.Tensor:
    if not processors:
        return scores
    nothing = torch.zeros((len(scores), 1), dtype=torch.int64, device=scores.device)
    done: torch.Tensor = processors(nothing, scores)  # type: ignore[arg-type]
    return done


def choose(logits: torch.Tensor, samplers: Sequence[Sampler], tokens: Sequence[Sequence[int]]) -> list[Choice]:
    """The next token of each row of logits (rows, vocabulary); one look at the device for all of them.

    Args:
        logits: after each sequence's last token; changed in place.
        samplers: the sequences'.
        tokens: of each sequence, context and answer.
    """
    for row, sampler, known in zip(logits, samplers, tokens, strict=True):
        sampler.hold_back_ends(row, len(known))
    failed: dict[int, Exception] = {}
    chosen = logits.argmax(-1)
    groups: dict[Any, list[int]] = {}
    for index, sampler in enumerate(samplers):
        if not sampler.greedy:
            key = sampler.key
            groups.setdefault(("alone", index) if key is None else key, []).append(index)
    for indices in groups.values():
        if len(indices) == 1 or not _draw_together(chosen, indices, logits, samplers):
            for index in indices:
                try:
                    chosen[index] = samplers[index].choose(logits[index : index + 1], tokens[index])[0]
                except Exception as error:  # noqa: BLE001  it is this sequence's, not the others'
                    failed[index] = error
    return [failed.get(index, token) for index, token in enumerate(chosen.tolist())]


def _draw_together(chosen: torch.Tensor, indices: list[int], logits: torch.Tensor, samplers: Sequence[Sampler]) -> bool:
    """Draw for all of a group; False where that fails: then each by itself tells whose fault it is."""
    try:
        chosen[indices] = samplers[indices[0]].draw(logits[indices].float())
    except Exception:  # noqa: BLE001  the group may hold one bad row
        return False
    return True
