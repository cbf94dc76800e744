"""How long API backends wait for a provider, and when they give a request up."""

import asyncio

import pytest

from services.common.errors import UpstreamRateLimitedError, UpstreamTimeoutError
from services.llm.backends.api import clocks
from services.llm.domain import Finished, FinishReason, GenerationRequest, TextDelta, ToolCall, ToolCallEvent
from tests.support.api_backends import ASKED, WEATHER, Make, failure, run, text_of
from tests.support.dialects import Dialect, sse
from tests.support.fault_server import Exchange, FaultServer, answering, stalling, streaming


@pytest.mark.parametrize("head", [True, False])
async def test_edge_21_no_first_token_in_time(provider: FaultServer, made: Make, head: bool) -> None:
    provider.play(stalling([": keep-alive\n\n"] if head else [], head=head))
    async with made(responses_api_first_token_timeout_s=0.1) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has sent no token within 0.1 s"


async def test_edge_21_a_stream_that_starts_and_then_stalls(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(stalling(sse(api.text("Hello"))))
    async with made(responses_api_idle_timeout_s=0.1) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has sent no further token within 0.1 s"


@pytest.mark.parametrize("stream", [True, False])
async def test_edge_21_an_answer_that_never_ends(api: Dialect, provider: FaultServer, made: Make, stream: bool) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(kind="text/event-stream" if stream else "application/json")
        while not exchange.gone.is_set():
            await exchange.send(sse(api.text("and "))[0])
            await asyncio.sleep(0.005)

    provider.play(endless)
    async with made(responses_api_request_timeout_s=0.2, responses_api_stream=stream) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has not finished the answer within 0.2 s"


async def test_edge_19_the_time_that_a_slow_consumer_takes_is_not_the_providers(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(streaming(api.answer(*"abcdef")))
    async with made(responses_api_idle_timeout_s=0.05) as backend:
        events = []
        async for event in backend.generate(ASKED):
            events.append(event)
            if len(events) == 1:
                await asyncio.sleep(0.1)
    assert text_of(events) == "abcdef"


async def test_edge_21_an_answer_that_is_whole_does_not_wait_for_the_stream_to_end(
    api: Dialect, provider: FaultServer, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says why the answer ended and then neither counts its tokens nor ends the stream."""
    monkeypatch.setattr(clocks, "_LAST_WORD_S", 0.05)
    end = api.end(usage=None)
    provider.play(stalling(sse(api.text("Yes."), end[0])))
    async with made() as backend:
        assert await run(backend) == [TextDelta("Yes."), Finished(FinishReason.STOP, None)]


async def test_edge_09_long_arguments_are_no_stall(api: Dialect, provider: FaultServer, made: Make) -> None:
    """Nothing can be told of a call before it is whole, and yet its pieces are tokens."""
    call = api.call("id1", "get_weather", '{"city": "', *"Llanfairpwll", '"}')

    async def slow(exchange: Exchange) -> None:
        await exchange.head()
        for event in sse(*call, *api.end("tool_calls")):
            await exchange.send(event)
            await asyncio.sleep(0.06)
        await exchange.end()

    provider.play(slow)
    async with made(responses_api_idle_timeout_s=0.5, responses_api_first_token_timeout_s=0.5) as backend:
        events = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert events[0] == ToolCallEvent(ToolCall("id1", "get_weather", '{"city": "Llanfairpwll"}'))


async def test_a_retry_that_would_come_too_late_is_not_waited_for(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(answering(429, {"error": {}}, retry_after="5"))
    async with made(responses_api_first_token_timeout_s=2) as backend:
        error = await failure(backend)
    assert isinstance(error, UpstreamRateLimitedError)
    assert error.retry_after_s == 5.0
