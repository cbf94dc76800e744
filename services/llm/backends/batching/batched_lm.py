"""A language model whose answers are written together: requests in, events out. Imports torch.

Text is cut into tokens on a thread of its own and made from tokens on the event loop; the engine's thread sees tokens
alone.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import torch

from services.common.errors import ContextLengthError
from services.llm.backends.answer_tokens import AnswerTokens, room_for_answer
from services.llm.backends.batching.engine import Engine
from services.llm.backends.batching.packed import PackedModel
from services.llm.backends.batching.prefixes import shared_length
from services.llm.backends.batching.prompt_tokens import PromptTokens
from services.llm.backends.batching.sampling import Sampler
from services.llm.backends.batching.sequence import Entered, Prefilled, Sequence, Token
from services.llm.backends.batching.stream import Courier, EventStream, run
from services.llm.backends.causal_lm import LoadedModel
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.domain import (
    Admitted,
    BackendEvent,
    Finished,
    GenerationRequest,
    Message,
    Role,
    TextPart,
    Usage,
)
from services.llm.tools.calls import callable_tools

_PROBE = "Hello"
_REMEMBERED = 16
"""Times the tokens of the pool that prompts are remembered of: each turn with all of its history."""


@dataclass(frozen=True)
class EngineOptions:
    """How many share the model; 0 means what suits it.

    Attributes:
        cache_bytes: for keys and values; None: for `DEFAULT_TOKENS` tokens, or a quarter of a GPU's memory.
        max_batch: answers written at a time.
        max_tokens: tokens in flight at a time.
        threads: processor threads for a step.
    """

    cache_bytes: int | None
    max_batch: int
    max_tokens: int
    threads: int


DEFAULT_TOKENS = 16_384
"""Tokens that keys and values are kept of unless memory is set: sixteen conversations of a thousand."""
LEAST_TOKENS = 4096
"""What the pool holds however little memory is set: a context has to fit while it is answered."""


class BatchedLanguageModel:
    """Answers requests, on any event loop, once the model is loaded.

    Args:
        loaded: tokenizer, template and limits; its weights are with `model`.
        model: what the engine runs.
        defaults: the model's own generation configuration.
        options: how many share it.
    """

    def __init__(
        self, loaded: LoadedModel, model: PackedModel, defaults: dict[str, Any], options: EngineOptions
    ) -> None:
        self._loaded = loaded
        self._defaults = defaults
        capacity = _capacity(model, loaded.context_length, options.cache_bytes)
        self._token_bytes = model.shape.token_bytes
        self.cache_bytes = capacity * self._token_bytes
        self._courier = Courier()
        self._engine = Engine(
            model,
            capacity,
            options.max_batch,
            options.max_tokens or capacity,
            options.threads,
            keep=options.cache_bytes != 0,
            flush=self._courier.deliver,
        )
        self._prompts = PromptTokens(self._cut, loaded.template.control_tokens, capacity * _REMEMBERED)
        self._text = ThreadPoolExecutor(1, "llm-text")
        torch.manual_seed(secrets.randbits(63))
        self._engine.start()

    @property
    def cached_tokens(self) -> int:
        """Tokens whose keys and values are kept."""
        return self._engine.cached_tokens

    @property
    def cached_bytes(self) -> int:
        """Bytes that those take."""
        return self.cached_tokens * self._token_bytes

    @property
    def working(self) -> int:
        """Contexts at work or waiting."""
        return self._engine.working

    async def generate(self, request: GenerationRequest, plan: GenerationPlan) -> AsyncGenerator[BackendEvent, None]:
        """The answer's events; the first one is `Admitted`.

        Raises:
            ContextLengthError: the context leaves no room for an answer.
        """
        loop = asyncio.get_running_loop()
        stream = EventStream(self._courier)
        loaded = self._loaded
        sequence, prompt, begun = await loop.run_in_executor(self._text, self._prepare, request, plan, stream)
        context = sequence.prompt_length
        tools = callable_tools(request.tools, request.tool_choice)
        sorted_out = LocalAnswer(loaded.template.tool_format, tools, begun)
        answer = AnswerTokens(Detokenizer(loaded.template.decode), sorted_out, plan, loaded.ends)
        reused = 0
        async with aclosing(run(self._engine, sequence, stream)) as steps:
            async for events in steps:
                for event in events:
                    if isinstance(event, Entered):
                        reused = event.reused
                        yield Admitted(event.waited_s)
                    elif isinstance(event, Token):
                        for part in answer.take(event.id):
                            yield part
                        if answer.over:
                            break
                if answer.over:
                    break
        for part in answer.finish():
            yield part
        tokens = sequence.tokens[: context + answer.count]
        if tokens[-1] in loaded.ends:
            tokens.pop()
        self._text.submit(self._remember, prompt, tokens, context)
        yield Finished(answer.reason, Usage(context, answer.count, reused))

    async def prefill(self, request: GenerationRequest) -> int:
        """Compute the keys and values of a context up to where the user's words are not known; returns its tokens."""
        loop = asyncio.get_running_loop()
        tokens = await loop.run_in_executor(self._text, self._beginning, request)
        if not tokens:
            return 0
        stream = EventStream(self._courier)
        sequence = Sequence(tokens, 0, frozenset(), None, stream)
        async with aclosing(run(self._engine, sequence, stream)) as steps:
            async for events in steps:
                for event in events:
                    if isinstance(event, Prefilled):
                        return event.tokens
        return 0

    async def aclose(self) -> None:
        """End the threads. Twice is as once."""
        await asyncio.to_thread(self._engine.close)
        self._text.shutdown(wait=False)

    def _prepare(
        self, request: GenerationRequest, plan: GenerationPlan, stream: EventStream
    ) -> tuple[Sequence, str, str]:
        loaded = self._loaded
        prompt = loaded.template.render(request.messages, request.tools, request.tool_choice)
        tokens = self._prompts.tokens(prompt.text)
        limit = room_for_answer(loaded.context_length, len(tokens), plan.max_new_tokens)
        room = self._engine.capacity - len(tokens)
        if room < 1:
            message = f"the context has {len(tokens)} tokens, the server has room for {self._engine.capacity}"
            raise ContextLengthError(message, field="messages")
        sampler = Sampler(plan, self._defaults, len(tokens), loaded.ends, loaded.device)
        sequence = Sequence(tokens, min(limit, room), loaded.ends, sampler, stream, session=request.session)
        return sequence, prompt.text, prompt.begun

    def _remember(self, prompt: str, tokens: list[int], context: int) -> None:
        self._prompts.remember(prompt + self._loaded.template.decode(tokens[context:]), tokens)

    def _beginning(self, request: GenerationRequest) -> list[int]:
        """The tokens of what is certain of a coming turn's prompt.

        That is the history, what the template writes around it up to the user's words, and the words so far, but for
        the last of them, which may go on.
        """
        messages = request.messages
        words = ""
        if messages and messages[-1].role is Role.USER:
            words = messages[-1].text.strip()
        if not words:
            message = Message(Role.USER, (TextPart(_PROBE),))
            kept = messages[:-1] if messages and messages[-1].role is Role.USER else messages
            messages = (*kept, message)
        template = self._loaded.template
        text = template.render(messages, request.tools, request.tool_choice).text
        other = template.render(
            (*messages[:-1], replace(messages[-1], content=(TextPart(f"{words or _PROBE} and"),))),
            request.tools,
            request.tool_choice,
        ).text
        same = shared_length(text, other)
        certain = text[: same - len(_PROBE)] if not words else text[:same].rstrip()
        tokens = self._prompts.tokens(certain)
        limit = min(self._loaded.context_length or self._engine.capacity, self._engine.capacity) - 1
        return tokens[: min(len(tokens) - 1 if words else len(tokens), limit)]

    def _cut(self, text: str) -> list[int]:
        tokens: list[int] = self._loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens


def _capacity(model: PackedModel, context_length: int, cache_bytes: int | None) -> int:
    """Tokens that the pool holds."""
    each = model.shape.token_bytes
    least = min(context_length or LEAST_TOKENS, LEAST_TOKENS)
    if cache_bytes is None:
        free = torch.cuda.mem_get_info(model.device)[0] if model.device.startswith("cuda") else 0
        return max(DEFAULT_TOKENS if not free else min(DEFAULT_TOKENS, int(free * 0.9) // each), free // 4 // each)
    return max(cache_bytes // each, least)
