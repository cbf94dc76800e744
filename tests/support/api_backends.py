"""What tests ask of an API backend before a provider that is played, and what comes of it."""

import contextlib
from collections.abc import Callable

import pytest

from services.common.errors import ParleyError
from services.llm.backends.base import Backend
from services.llm.domain import (
    BackendEvent,
    GenerationRequest,
    Message,
    Role,
    TextDelta,
    TextPart,
    Tool,
    ToolCallStarted,
)

KEY = "test-key-never-told"
ASKED = GenerationRequest((Message(Role.USER, (TextPart("Hello?"),)),))
WEATHER = Tool("get_weather", "Tells the weather", '{"type": "object", "properties": {"city": {"type": "string"}}}')
Make = Callable[..., contextlib.AbstractAsyncContextManager[Backend]]


async def run(backend: Backend, request: GenerationRequest = ASKED) -> list[BackendEvent]:
    """All events, but for where calls begin."""
    async with contextlib.aclosing(backend.generate(request)) as events:
        return [event async for event in events if not isinstance(event, ToolCallStarted)]


def text_of(events: list[BackendEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def failure(backend: Backend, request: GenerationRequest = ASKED) -> ParleyError:
    """What a request fails with; nothing internal is in it."""
    with pytest.raises(ParleyError) as caught:
        await run(backend, request)
    for word in (KEY, "127.0.0.1", "httpx", "Error(", "Traceback"):
        assert word not in caught.value.message
    return caught.value
