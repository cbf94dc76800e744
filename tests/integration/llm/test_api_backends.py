"""The API backends against a provider that is played byte by byte: answers and calls of tools."""

import pytest

from services.llm import backends
from services.llm.domain import (
    Finished,
    FinishReason,
    GenerationRequest,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallEvent,
    Usage,
)
from services.llm.settings import LlmSettings
from tests.support.api_backends import ASKED, KEY, WEATHER, Make, run, text_of
from tests.support.dialects import Dialect, sse
from tests.support.fault_server import MODEL, FaultServer, answering, streaming


async def test_an_answer_comes_as_deltas_and_one_end(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(api.answer("Hello", ", ", "world.")))
        events = await run(backend)
    assert text_of(events) == "Hello, world."
    assert events[-1] == Finished(FinishReason.STOP, Usage(7, 3))
    asked = provider.posts[0]
    assert (asked.path, asked.body["model"], asked.body["stream"]) == (api.path, MODEL, True)
    assert asked.headers["authorization"] == f"Bearer {KEY}"


async def test_without_streaming_the_answer_comes_the_same_way(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made(responses_api_stream=False) as backend:
        provider.play(answering(200, api.whole("Hello, world.")))
        assert await run(backend) == [TextDelta("Hello, world."), Finished(FinishReason.STOP, Usage(7, 3))]
    assert provider.posts[0].body["stream"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_ignores_the_wish_to_stream_or_not_is_understood(
    api: Dialect, provider: FaultServer, made: Make, stream: bool
) -> None:
    async with made(responses_api_stream=stream) as backend:
        provider.play(answering(200, api.whole("Hi.")) if stream else streaming(api.answer("Hi.")))
        assert text_of(await run(backend)) == "Hi."


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("length", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_edge_21_an_answer_that_was_cut_says_why(
    api: Dialect, provider: FaultServer, made: Make, reason: str, expected: FinishReason, stream: bool
) -> None:
    whole = answering(200, api.whole("Once", reason))
    async with made(responses_api_stream=stream) as backend:
        provider.play(streaming(api.answer("Once", reason=reason)) if stream else whole)
        events = await run(backend)
    assert (text_of(events), events[-1]) == ("Once", Finished(expected, Usage(7, 3)))


async def test_edge_21_bytes_that_come_one_by_one_with_comments_and_without_an_end(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    """Keep-alives, CRLF, no [DONE], no empty line after the last event: all of it happens."""
    pieces = [": keep-alive\r\n\r\n", *api.answer("Grüße, ", "世界."), "\n: bye\n"]
    if pieces[-2].startswith("data: [DONE]"):
        pieces.pop(-2)
    async with made() as backend:
        provider.play(streaming(["".join(pieces).replace("\n", "\r\n").strip()], slowly=True))
        assert text_of(await run(backend)) == "Grüße, 世界."


async def test_edge_17_thinking_is_told_apart(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(sse(api.thought("Hm."), api.text("Yes."), *api.end())))
        events = await run(backend)
    assert events[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


async def test_edge_21_an_answer_without_usage_has_none(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(sse(api.text("Yes."), *api.end(usage=None))))
        assert (await run(backend))[-1] == Finished(FinishReason.STOP, None)


async def test_edge_09_arguments_in_many_pieces_are_one_call_between_the_texts(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    call = api.call("id1", "get_weather", '{"ci', 'ty": "Pa', 'ris"}')
    async with made() as backend:
        provider.play(streaming(sse(api.text("Wait."), *call, *api.end("tool_calls"))))
        events = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert events == [
        TextDelta("Wait."),
        ToolCallEvent(ToolCall("id1", "get_weather", '{"city": "Paris"}')),
        Finished(FinishReason.TOOL_CALLS, Usage(7, 3)),
    ]


async def test_edge_12_a_call_with_broken_arguments_is_reported_beside_a_good_one(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    calls = [*api.call("id1", "get_weather", '{"city": "Par'), *api.call("id2", "get_weather", "{}", place=1)]
    async with made() as backend:
        provider.play(streaming(sse(*calls, *api.end("tool_calls"))))
        bad, good, finished = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert isinstance(bad, InvalidToolCall)
    assert (bad.id, bad.name, bad.arguments_text) == ("id1", "get_weather", '{"city": "Par')
    assert good == ToolCallEvent(ToolCall("id2", "get_weather", "{}"))
    assert finished == Finished(FinishReason.TOOL_CALLS, Usage(7, 3))


async def test_edge_10_an_id_that_was_there_before_is_made_unique_and_the_provider_sees_its_own(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    before = (
        *ASKED.messages,
        Message(Role.ASSISTANT, tool_calls=(ToolCall("call_0", "get_weather", "{}"),)),
        Message(Role.TOOL, (TextPart("Rain"),), tool_call_id="call_0"),
    )
    async with made() as backend:
        provider.play(streaming(sse(*api.call("call_0", "get_weather", "{}"), *api.end("tool_calls"))))
        event = (await run(backend, GenerationRequest(before, tools=(WEATHER,))))[0]
        assert isinstance(event, ToolCallEvent)
        assert event.call.id == "call_0~2"
        after = (
            *before,
            Message(Role.ASSISTANT, tool_calls=(event.call,)),
            Message(Role.TOOL, (TextPart("Sun"),), tool_call_id=event.call.id),
        )
        provider.play(streaming(api.answer("Sun.")))
        await run(backend, GenerationRequest(after, tools=(WEATHER,)))
    assert "~2" not in str(provider.posts[1].body)


def test_secrets_do_not_show(api: Dialect) -> None:
    settings = LlmSettings(llm_backend=api.backend, responses_api_api_key=KEY, model_name=MODEL)
    assert KEY not in repr(settings)
    assert KEY not in repr(vars(backends.create(settings)))
