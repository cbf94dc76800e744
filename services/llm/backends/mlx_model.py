"""A language model of mlx-lm, used on the one thread that loads it. Imports mlx."""

import copy
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

from services.common.errors import StartupError
from services.common.model_thread import Stop
from services.llm.backends import mlx_sampling
from services.llm.backends.answer_tokens import PREFILL_CHUNK, Abandoned, AnswerTokens, Emit, room_for_answer
from services.llm.backends.base import RoleNames
from services.llm.backends.batching.prompt_tokens import PromptTokens
from services.llm.backends.chat_template import ChatTemplate
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.end_tokens import end_tokens
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.backends.prefix_cache import PrefixCache
from services.llm.domain import Finished, GenerationRequest, Usage
from services.llm.tools.calls import callable_tools

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MlxOptions:
    """How a model is loaded; "" means what suits the machine."""

    folder: Path
    device: str
    dtype: str
    cache_bytes: int
    trust_remote_code: bool
    names: RoleNames


class MlxModel:
    """Loads a model and generates with it, one answer at a time; keeps what it has read for the turns to come.

    Raises:
        StartupError: with one line that says what to do.
    """

    def __init__(self, options: MlxOptions) -> None:
        device = _device(options.device)
        mx.set_default_device(device)
        if device == mx.cpu:
            # On a processor mlx compiles with the machine's C++ compiler: seconds, where there is one at all, into a
            # folder that all users share, and for nothing.
            mx.disable_compile()
        loaded: Any = mlx_lm.load(
            str(options.folder),
            tokenizer_config={"trust_remote_code": options.trust_remote_code, "local_files_only": True},
            trust_remote_code=options.trust_remote_code,
            return_config=True,
        )
        model, tokenizer, config = loaded
        # A processor without 16-bit arithmetic computes these formats number by number.
        dtype = options.dtype or ("float32" if device == mx.cpu else "")
        if dtype:
            model.set_dtype(getattr(mx, dtype))
            mx.eval(model.parameters())
        self._model, self._tokenizer = model, tokenizer
        self._template = ChatTemplate(tokenizer, options.names)
        self._ends = end_tokens(tokenizer, tokenizer.eos_token_ids)
        tokenizer.eos_token_ids = self._ends
        self._vocabulary = len(tokenizer)
        text_config = config.get("text_config", config)
        self.context_length = int(text_config.get("max_position_embeddings", 0) or 0)
        self._prompts = PromptTokens(self._cut, self._template.control_tokens)
        self._cache: PrefixCache[list[Any]] = PrefixCache(options.cache_bytes)
        self.prefills = options.cache_bytes > 0 and can_trim_prompt_cache(make_prompt_cache(model))
        """Whether a context can be read ahead: what is kept of it must go back to where the real one goes on."""
        log.info(
            "model loaded",
            extra={
                "device": "cpu" if device == mx.cpu else "gpu",
                "dtype": dtype or "the model's own",
                "context": self.context_length,
            },
        )

    @property
    def cached_bytes(self) -> int:
        """Bytes kept of contexts read; from any thread."""
        return self._cache.size

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
        tokens = self._prompts.tokens(prompt.text)
        limit = room_for_answer(self.context_length, len(tokens), plan.max_new_tokens)
        state, read = self._state(tokens)
        tools = callable_tools(request.tools, request.tool_choice)
        sorted_out = LocalAnswer(self._template.tool_format, tools, prompt.begun)
        answer = AnswerTokens(Detokenizer(self._template.decode), sorted_out, plan, self._ends)
        mx.random.seed(secrets.randbits(63) if plan.seed is None else plan.seed)
        responses = mlx_lm.stream_generate(
            self._model,
            self._tokenizer,
            tokens[read:],
            max_tokens=limit,
            sampler=mlx_sampling.sampler(plan, self._vocabulary),
            logits_processors=mlx_sampling.processors(plan, tokens, read, self._ends),
            prompt_cache=state,
            prefill_step_size=PREFILL_CHUNK,
            prompt_progress_callback=self._look(tokens, state, read, stop),
        )
        written: list[int] = []
        try:
            for response in responses:
                written.append(response.token)
                if stop or not all(emit(event) for event in answer.take(response.token)) or answer.over:
                    break
        except Abandoned:
            return
        finally:
            responses.close()
        # The step after a token begins before the token is handed over: the state holds all that were.
        self._keep([*tokens, *written], state)
        self._remember(prompt.text, tokens, written)
        if not stop:
            usage = Usage(len(tokens), len(written), cached_input_tokens=read)
            for event in (*answer.finish(), Finished(answer.reason, usage)):
                emit(event)

    def prefill(self, request: GenerationRequest, stop: Stop) -> int:
        """Read a context, and keep what was read of it when `stop` is set; returns its tokens."""
        prompt = self._template.render(request.messages, request.tools, request.tool_choice)
        tokens = self._prompts.tokens(prompt.text)
        if self.context_length and len(tokens) >= self.context_length:
            return 0
        state, read = self._state(tokens)
        look = self._look(tokens, state, read, stop)
        try:
            for _ in generate_step(
                mx.array(tokens[read:]),
                self._model,
                max_tokens=0,
                prompt_cache=state,
                prefill_step_size=PREFILL_CHUNK,
                prompt_progress_callback=look,
            ):
                pass
        except Abandoned:
            return 0
        self._keep(tokens, state)
        return len(tokens)

    def _cut(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _remember(self, prompt: str, tokens: list[int], written: list[int]) -> None:
        """The tokens of an answer, which the tokenizer might cut otherwise when it comes back as history."""
        if written and written[-1] in self._ends:
            written = written[:-1]
        self._prompts.remember(prompt + self._template.decode(written), [*tokens, *written])

    def _state(self, tokens: Sequence[int]) -> tuple[list[Any], int]:
        """Keys and values of the longest beginning that is known, the caller's own, and its number of tokens."""
        hit = self._cache.find(tokens)
        if hit is None:
            return make_prompt_cache(self._model), 0
        if hit.whole:
            return hit.state, hit.shared
        state = copy.deepcopy(hit.state)
        trim_prompt_cache(state, len(hit.tokens) - hit.shared)
        return state, hit.shared

    def _keep(self, tokens: Sequence[int], state: list[Any]) -> None:
        size = sum(layer.nbytes for layer in state)
        self._cache.keep(tokens, state, size, cuttable=can_trim_prompt_cache(state))

    def _look(self, tokens: Sequence[int], state: list[Any], read: int, stop: Stop) -> Callable[[int, int], None]:
        """Looks up between two parts of a prompt; what is read of an abandoned one is kept."""

        def look(done: int, total: int) -> None:
            # At the end a token has been chosen, and is in the state, too; the next look is at that token.
            if stop and done < total:
                self._keep(tokens[: read + done], state)
                raise Abandoned

        return look


def _device(name: str) -> Any:
    """mlx knows two: the processor, and the graphics processor of Metal or CUDA, whichever it was built for."""
    kind = name.partition(":")[0]
    metal, cuda = mx.metal.is_available(), mx.cuda.is_available()
    if not {"": True, "cpu": True, "mps": metal, "cuda": cuda}[kind] or name not in (
        "",
        "cpu",
        "mps",
        "cuda",
        "cuda:0",
    ):
        raise StartupError(f"--llm_device {name}: mlx has no such device here; use cpu, or leave the flag out")
    return mx.gpu if kind != "cpu" and (metal or cuda) else mx.cpu
