"""Any causal language model of the transformers library, one answer at a time. Imports torch.

For the models that the batching engine cannot take: whose layers keep something else than keys and values, or whose
attention cannot be replaced.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from services.common.model_thread import Stop
from services.llm.backends.answer_tokens import PREFILL_CHUNK, Abandoned, AnswerTokens, Emit, room_for_answer
from services.llm.backends.causal_lm import LoadedModel
from services.llm.backends.chat_template import Prompt
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.backends.penalties import RepetitionPenalties
from services.llm.backends.quantization import quantize
from services.llm.domain import Finished, GenerationRequest, Usage
from services.llm.tools.calls import callable_tools


class OneAtATime:
    """Generates with the library's own `generate`, on the thread that loaded the model."""

    prefill_chunk: int | None = PREFILL_CHUNK
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
        limit = room_for_answer(self._loaded.context_length, tokens, plan.max_new_tokens)
        tools = callable_tools(request.tools, request.tool_choice)
        answer = LocalAnswer(self._loaded.template.tool_format, tools, prompt.begun)
        sink = _Sink(AnswerTokens(self._detokenizer(), answer, plan, self._loaded.ends), stop, emit)

        def look(*_: object) -> None:
            if stop:
                raise Abandoned

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
        except Abandoned:
            return
        finally:
            hook.remove()
        if not stop:
            for event in (*sink.answer.finish(), Finished(sink.answer.reason, Usage(tokens, sink.answer.count))):
                emit(event)

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
    """Sees each new token once: hands over what it gives, and says whether the answer is over."""

    def __init__(self, answer: AnswerTokens, stop: Stop, emit: Emit) -> None:
        self.answer = answer
        self._stop = stop
        self._emit = emit

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        over = bool(self._stop) or not self._take(int(input_ids[0, -1]))
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)

    def _take(self, token: int) -> bool:
        wanted = all(self._emit(event) for event in self.answer.take(token))
        return wanted and not self.answer.over


def _processors(plan: GenerationPlan, prompt_length: int) -> LogitsProcessorList:
    if not plan.frequency_penalty and not plan.presence_penalty:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenalties(prompt_length, plan.frequency_penalty, plan.presence_penalty)])
