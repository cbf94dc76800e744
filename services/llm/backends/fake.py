"""A scripted model for load tests and for the developers of clients; its answer says that it is none."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from services.common.errors import ContextLengthError, StartupError
from services.llm.backends.base import Backend, Capabilities
from services.llm.backends.stop_strings import StopStrings
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePart,
    Message,
    Role,
    TextDelta,
    ToolCall,
    ToolCallEvent,
    Usage,
)

if TYPE_CHECKING:
    from services.llm.settings import LlmSettings

_TOKEN = re.compile(r"\s*\S+\s*\Z|\s*\S+")
_CONTEXT_TOKENS = 32_768
_PARALLEL = 4096
RECEIVED = "{received}"
"""In `--fake_answer` this stands for the context that the model got, one `role: text` after another."""


class FakeBackend(Backend):
    """Answers every request with the same text: a token is a word, the first after one delay, the others at a pace.

    With `--fake_calls_tools` a turn that has tools first calls the first of them.
    """

    def __init__(self, settings: "LlmSettings") -> None:
        self._answer = settings.fake_answer
        self._first_token_s = settings.fake_first_token_ms / 1000
        self._token_s = settings.fake_token_ms / 1000
        self._max_tokens = settings.llm_gen_max_new_tokens
        self._options = settings.generation_options
        self._capabilities = Capabilities(
            settings.model,
            "fake",
            context_length_tokens=_CONTEXT_TOKENS,
            tools=settings.fake_calls_tools,
            images=settings.llm_is_vlm,
            parallel=_PARALLEL,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def load(self) -> None:
        for name in self._options:
            raise StartupError(f"--llm_gen_{name}: the fake backend has no such parameter")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        received = " | ".join(f"{message.role.value}: {_shown(message)}" for message in request.messages)
        input_tokens = len(received.split())
        if input_tokens > _CONTEXT_TOKENS:
            raise ContextLengthError(
                f"{input_tokens} tokens are more than the model's {_CONTEXT_TOKENS}", field="messages"
            )
        if request.tools and request.messages[-1].role is not Role.TOOL:
            yield ToolCallEvent(ToolCall("", request.tools[0].name, "{}"))
            yield Finished(FinishReason.TOOL_CALLS, Usage(input_tokens, 1))
            return
        limit = request.sampling.max_output_tokens or self._max_tokens
        tokens = _TOKEN.findall(self._answer.replace(RECEIVED, received))
        stops = StopStrings(request.sampling.stop)
        clock = asyncio.get_running_loop().time
        due, sent, count = clock() + self._first_token_s, 0, min(len(tokens), limit)
        while sent < count and not stops.hit:
            wait = due - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            # All that is due by now goes at once: the pace does not drift, and falling behind costs nothing.
            now, begun = clock(), sent
            while sent < count and (sent == begun or due <= now):
                sent += 1
                due += self._token_s
            text = stops.feed("".join(tokens[begun:sent]))
            if text:
                yield TextDelta(text)
        rest = stops.finish()
        if rest:
            yield TextDelta(rest)
        cut = count < len(tokens) and not stops.hit
        yield Finished(FinishReason.LENGTH if cut else FinishReason.STOP, Usage(input_tokens, sent))

    async def prefill(self, request: GenerationRequest) -> int:
        return 0

    async def aclose(self) -> None:
        return None


def _shown(message: Message) -> str:
    """A message's text, after a word for each of its images."""
    images = (part for part in message.content if isinstance(part, ImagePart))
    return "".join(f"[{image.media_type} of {len(image.data)} bytes] " for image in images) + message.text
