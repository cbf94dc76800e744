"""A causal language model of the transformers library, used on the one thread that loads it. Imports torch."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from services.common.errors import ContextLengthError, StartupError
from services.common.model_thread import Stop
from services.llm.backends.base import RoleNames
from services.llm.backends.chat_template import ChatTemplate
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.backends.penalties import RepetitionPenalties
from services.llm.backends.quantization import quantize
from services.llm.backends.stop_strings import StopStrings
from services.llm.domain import BackendEvent, Finished, FinishReason, GenerationRequest, Usage
from services.llm.processor import usable_cores
from services.llm.tools.calls import callable_tools

log = logging.getLogger(__name__)

Emit = Callable[[BackendEvent], bool]
"""Hands an event over; False where nobody wants more."""

_PREFILL_CHUNK = 512
"""Tokens of a prompt between two looks at whether anybody still wants the answer."""
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|eom_id|>", "<|return|>")
"""End-of-turn marks; those that the chat template writes end an answer, whatever the model's files say."""


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded; "" and 0 mean what suits the machine."""

    folder: Path
    device: str
    dtype: str
    quantization: str
    threads: int
    trust_remote_code: bool
    names: RoleNames


class _Abandoned(Exception):
    """Nobody wants the answer any more."""


class CausalLanguageModel:
    """Loads a model and generates with it, one answer at a time.

    Raises:
        StartupError: with one line that says what to do.
    """

    def __init__(self, options: ModelOptions) -> None:
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(options.threads or usable_cores())
        device = options.device or _best_device()
        dtype = options.dtype or ("float32" if device == "cpu" else "float16")
        where = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
        self._tokenizer: Any = AutoTokenizer.from_pretrained(options.folder, **where)
        self._template = ChatTemplate(self._tokenizer, options.names)
        model: Any = AutoModelForCausalLM.from_pretrained(options.folder, dtype=getattr(torch, dtype), **where)
        self._model = model.to(device).eval()
        if options.quantization:
            quantize(self._model, device, dtype)
        self._device = device
        self._ends = self._end_tokens()
        text_config = self._model.config.get_text_config()
        self.context_length = int(getattr(text_config, "max_position_embeddings", 0) or 0)
        log.info(
            "model loaded",
            extra={
                "device": device,
                "dtype": dtype,
                "quantization": options.quantization or "none",
                "threads": torch.get_num_threads(),
                "context": self.context_length,
            },
        )

    @property
    def template(self) -> ChatTemplate:
        """How its prompts are written."""
        return self._template

    def generate(self, request: GenerationRequest, plan: GenerationPlan, stop: Stop, emit: Emit) -> None:
        """Answer a context; returns early once `stop` is set or `emit` says that nobody wants more.

        Raises:
            ContextLengthError: the context leaves no room for an answer.
        """
        prompt = self._template.render(request.messages, request.tools, request.tool_choice)
        tokens = self._tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        room = self.context_length - len(tokens) if self.context_length else plan.max_new_tokens
        if room < 1:
            message = f"the context has {len(tokens)} tokens, the model takes {self.context_length} with the answer"
            raise ContextLengthError(message, field="messages")
        limit = min(plan.max_new_tokens, room)
        tools = callable_tools(request.tools, request.tool_choice)
        answer = LocalAnswer(self._template.tool_format, tools, prompt.begun)
        sink = _Sink(self._detokenizer(), StopStrings(plan.stop), answer, self._ends, plan.min_new_tokens, stop, emit)

        def look(*_: object) -> None:
            if stop:
                raise _Abandoned

        torch.manual_seed(secrets.randbits(63) if plan.seed is None else plan.seed)
        hook = self._model.register_forward_pre_hook(look)
        try:
            with torch.inference_mode():
                input_ids = torch.tensor([tokens], device=self._device)
                self._model.generate(
                    inputs=input_ids,
                    attention_mask=torch.ones_like(input_ids),
                    generation_config=self._config(plan, limit, len(tokens)),
                    stopping_criteria=StoppingCriteriaList([sink]),
                    logits_processor=_processors(plan, len(tokens)),
                )
        except _Abandoned:
            return
        finally:
            hook.remove()
        if not stop:
            sink.finish()
            emit(Finished(sink.reason, Usage(len(tokens), sink.count)))

    def _config(self, plan: GenerationPlan, limit: int, prompt_length: int) -> GenerationConfig:
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            min_new_tokens=min(plan.min_new_tokens, limit) or None,
            do_sample=plan.temperature is not None,
            temperature=plan.temperature,
            eos_token_id=sorted(self._ends),
            pad_token_id=min(self._ends),
            prefill_chunk_size=_PREFILL_CHUNK if prompt_length > _PREFILL_CHUNK else None,
            num_beams=1,
            return_dict_in_generate=False,
        )
        for name, value in plan.parameters.items():
            setattr(config, name, value)
        return config

    def _detokenizer(self) -> Detokenizer:
        return Detokenizer(self._template.decode)

    def _end_tokens(self) -> frozenset[int]:
        """Every token that ends an answer: the model's, the tokenizer's, and those of the chat template."""
        ends: set[int] = set()
        for known in (self._model.generation_config.eos_token_id, self._tokenizer.eos_token_id):
            ends.update(known if isinstance(known, list) else () if known is None else (known,))
        vocabulary = self._tokenizer.get_added_vocab()
        ends.update(
            vocabulary[mark] for mark in _TURN_ENDS if mark in vocabulary and mark in str(self._tokenizer.chat_template)
        )
        if not ends:
            raise StartupError("--model_name: the model's files name no token that ends an answer")
        return frozenset(ends)


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


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    log.info("no CUDA device: the model runs on the %s", device)
    return device


def check_device(device: str) -> None:
    """Check that this machine has a device.

    Raises:
        StartupError: it has not.
    """
    kind, _, index = device.partition(":")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, True)
    if not available or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise StartupError(f"--llm_device {device}: this machine has no such device; use cpu, or leave the flag out")
