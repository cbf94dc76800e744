"""The embedded model calls tools through a chat template that has them: the formats are read from real tokens."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.domain import (
    BackendEvent,
    GenerationRequest,
    InvalidToolCall,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolChoice,
    ToolMode,
)
from services.llm.settings import LlmSettings

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

WEATHER = Tool(
    "get_weather",
    "Get the weather of a city.",
    '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tool_model: Path) -> AsyncIterator[Backend]:
    # In full precision: 8-bit layers round by what is computed together, and this model decides by a hair.
    made = backends.create(LlmSettings(llm_backend="transformers", model_name=str(tool_model), llm_device="cpu"))
    try:
        await made.load()
        yield made
    finally:
        await made.aclose()


def say(role: Role, text: str, call_id: str = "") -> Message:
    return Message(role, (TextPart(text),), (), call_id)


def asked(city: str, weather: str = "") -> tuple[Message, ...]:
    """A question about the weather; with `weather`, the whole turn to its answer."""
    question = say(Role.USER, f"What is the weather in {city}?")
    call = Message(Role.ASSISTANT, (), (ToolCall(f"call_{city}", "get_weather", f'{{"city": "{city}"}}'),))
    turn = (question, call, say(Role.TOOL, weather, f"call_{city}"), say(Role.ASSISTANT, f"It is {weather} in {city}."))
    return turn if weather else (question,)


# A model this small follows earlier calls, not instructions.
HISTORY = asked("London", "rain") + asked("Rome", "sun") + asked("Berlin", "snow")


async def answer(backend: Backend, choice: ToolChoice | None, *tools: Tool) -> list[BackendEvent]:
    request = GenerationRequest(HISTORY + asked("Paris"), Sampling(max_output_tokens=40), tools, choice)
    backend.check(request)
    async with contextlib.aclosing(backend.generate(request)) as events:
        return [event async for event in events]


@pytest.mark.parametrize("choice", [None, ToolChoice(ToolMode.REQUIRED), ToolChoice(ToolMode.REQUIRED, "get_weather")])
async def test_edge_11_the_model_calls_a_tool_and_none_of_its_markup_is_text(
    backend: Backend, choice: ToolChoice | None
) -> None:
    events = await answer(backend, choice, WEATHER)
    calls = [event.call for event in events if isinstance(event, ToolCallEvent)]
    assert [call.name for call in calls] == ["get_weather"]
    assert isinstance(json.loads(calls[0].arguments_json), dict)
    assert not any("tool_call" in event.text for event in events if isinstance(event, TextDelta))


async def test_a_call_where_none_may_be_made_is_reported(backend: Backend) -> None:
    events = await answer(backend, ToolChoice(ToolMode.NONE), WEATHER)
    assert not any(isinstance(event, ToolCallEvent) for event in events)
    assert any(isinstance(event, InvalidToolCall) for event in events)
