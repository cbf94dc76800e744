"""Any causal language model of the transformers library, one answer at a time. Imports torch.

For the models that the batching engine cannot take: whose layers keep something else than keys and values, or whose
attention cannot be replaced.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from services.common.model_thread import Stop
from services.llm.backends.causal_lm import LoadedModel
from services.llm.backends.chat_template import Prompt
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.backends.penalties import RepetitionPenalties
from services.llm.backends.quantization import quantize
from services.llm.backends.stop_strings import StopStrings
from services.llm.domain import BackendEvent, Finished, FinishReason, GenerationRequest, Usage
from services.llm.tools.calls import callable_tools

Emit = Callable[[BackendEvent], bool]
"""Hands an event over; False where nobody wants more."""

_PREFILL_CHUNK = 512
"""Tokens of a prompt between two looks at whether anybody still wants the answer."""


class _Abandoned(Exception):
    """Nobody wants the answer any more."""


class OneAtATime:
    """Generates with the library's own `generate`, on the thread that loaded the model."""

    prefill_chunk: int | None = _PREFILL_CHUNK
    """Tokens that a long prompt is read in at a time; None: all at once."""

    def __init__(self, loaded: LoadedModel, quantization: str) -> None:
        self._loaded = loaded
        self._model = loaded.model
        if quantization:
            quantize(self._model, loaded.device, str(loaded.dtype).removeprefix("torch."))

    def generate(self, request: GenerationRequest, plan: GenerationPlan, stop: Stop, emit: Emit) -> None:
        """Answer a context; returns early once `stop` is set or `emit` says that nobody wants more.

        Raises:
            ContextLengthError: the context leaves no room for an answer.
            InvalidArgumentError: the model cannot take a part of the context.
        """
        prompt = self._prompt(request)
        inputs = self._inputs(prompt.text, request)
        tokens = int(inputs["input_ids"].shape[-1])
        limit = self._loaded.room_for_answer(tokens, plan.max_new_tokens)
        tools = callable_tools(request.tools, request.tool_choice)
        answer = LocalAnswer(self._loaded.template.tool_format, tools, prompt.begun)
        sink = _Sink(
            self._detokenizer(), StopStrings(plan.stop), answer, self._loaded.ends, plan.min_new_tokens, stop, emit
        )

        def look(*_: object) -> None:
            if stop:
                raise _Abandoned

        torch.manual_seed(secrets.randbits(63) if plan.seed is None else plan.seed)
        hook = self._model.register_forward_pre_hook(look)
        try:
            with torch.inference_mode():
                self._model.generate(
                    **inputs,
                    generation_config=self._config(plan, limit, tokens),
                    stopping_criteria=StoppingCriteriaList([sink]),
                    logits_processor=_processors(plan, tokens),
                )
        except _Abandoned:
            return
        finally:
            hook.remove()
        if not stop:
            sink.finish()
            emit(Finished(sink.reason, Usage(tokens, sink.count)))

    def _prompt(self, request: GenerationRequest) -> Prompt:
        return self._loaded.template.render(request.messages, request.tools, request.tool_choice)

    def _inputs(self, prompt: str, request: GenerationRequest) -> Mapping[str, Any]:
        """What the model reads, as the library names it, on the model's device."""
        tokens = self._loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        input_ids = torch.tensor([tokens], device=self._loaded.device)
        return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}

    def _config(self, plan: GenerationPlan, limit: int, prompt_length: int) -> GenerationConfig:
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            min_new_tokens=min(plan.min_new_tokens, limit) or None,
            do_sample=plan.temperature is not None,
            temperature=plan.temperature,
            eos_token_id=sorted(self._loaded.ends),
            pad_token_id=min(self._loaded.ends),
            prefill_chunk_size=self.prefill_chunk if prompt_length > (self.prefill_chunk or 0) else None,
            num_beams=1,
            return_dict_in_generate=False,
        )
        for name, value in plan.parameters.items():
            setattr(config, name, value)
        return config

    def _detokenizer(self) -> Detokenizer:
        return Detokenizer(self._loaded.template.decode)


class _Sink(StoppingCriteria):
    """Sees each new token once: makes text of it, hands it over, and says whether the answer is over."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        stops: StopStrings,
        answer: LocalAnswer,
        ends: frozenset[int],
        min_tokens: int,
        stop: Stop,
        emit: Emit,
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = stops
        self._answer = answer
        self._ends = ends
        self._min_tokens = min_tokens
        self._stop = stop
        self._emit = emit
        self.count = 0
        self.reason = FinishReason.LENGTH

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        over = self._take(int(input_ids[0, -1]))
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)

    def finish(self) -> None:
        """Hand over what was held back."""
        rest = self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        for event in (*self._answer.feed(rest), *self._answer.finish()):
            self._emit(event)

    def _take(self, token: int) -> bool:
        if self._stop:
            return True
        self.count += 1
        if token in self._ends:
            self.reason = FinishReason.STOP
            return True
        text = self._detokenizer.feed(token)
        if not text:
            return False
        # A stop string does not count before the least number of tokens, as an end token does not.
        text = self._stops.feed(text) if self.count > self._min_tokens else text
        if self._stops.hit:
            self.reason = FinishReason.STOP
        wanted = all(self._emit(event) for event in self._answer.feed(text))
        return not wanted or self._stops.hit


def _processors(plan: GenerationPlan, prompt_length: int) -> LogitsProcessorList:
    if not plan.frequency_penalty and not plan.presence_penalty:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenalties(prompt_length, plan.frequency_penalty, plan.presence_penalty)])
