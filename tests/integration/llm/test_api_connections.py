"""The connections of API backends: shared, lost, hung up on, and closed at once by who gives up."""

import asyncio
from typing import Any

import pytest

from services.llm.backends.api import connection
from services.llm.backends.base import Backend
from services.llm.domain import BackendEvent, GenerationRequest, Message, Role, TextDelta, TextPart
from tests.support.api_backends import ASKED, Make, run, text_of
from tests.support.dialects import Dialect, sse
from tests.support.fault_server import Exchange, FaultServer, answering, stalling, streaming


async def test_turns_share_the_connection_that_loading_opened(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(streaming(api.answer("Hello.")))
    async with made() as backend:
        for _ in range(3):
            await run(backend)
            await settled(backend)
    assert [exchange.method for exchange in provider.exchanges] == ["GET", "POST", "POST", "POST"]
    assert {exchange.connection for exchange in provider.exchanges} == {0}


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_turn(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    async def vanish(exchange: Exchange) -> None:
        await exchange.hang_up()

    provider.play(vanish, streaming(api.answer("Hello.")))
    async with made() as backend:
        assert text_of(await run(backend)) == "Hello."
    assert len(provider.posts) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_megabytes_go_both_ways(api: Dialect, provider: FaultServer, made: Make, stream: bool) -> None:
    long = "many words " * 300_000
    provider.play(streaming(sse(api.text(long), *api.end())) if stream else answering(200, api.whole(long)))
    async with made(responses_api_stream=stream) as backend:
        events = await run(backend, GenerationRequest((Message(Role.USER, (TextPart(long),)),)))
    assert text_of(events) == long
    assert long in str(provider.posts[0].body)


async def test_a_finished_stream_that_does_not_end_is_hung_up_on(
    api: Dialect, provider: FaultServer, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_DRAIN_S", 0.05)
    provider.play(stalling(api.answer("Yes.")))
    async with made() as backend:
        assert text_of(await run(backend)) == "Yes."
        await provider.posts[0].gone.wait()


async def settled(backend: Backend) -> None:
    """Wait until finished responses have given their connections back."""
    opened: Any = backend._connection  # type: ignore[attr-defined]
    await asyncio.gather(*opened._draining)


@pytest.mark.parametrize("tokens", [0, 1, 3])
@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_edge_18_giving_up_closes_the_connection_and_the_next_turn_is_clean(
    api: Dialect, provider: FaultServer, made: Make, tokens: int, how: str
) -> None:
    provider.play(stalling(sse(*(api.text(f"old{number}") for number in range(tokens)))), streaming(api.answer("new")))
    async with made() as backend:
        seen: list[BackendEvent] = []
        enough = asyncio.Event()
        events = backend.generate(ASKED)

        async def consume() -> None:
            async for event in events:
                seen.append(event)
                if text_of(seen).count("old") == tokens:
                    enough.set()

        consuming = asyncio.create_task(consume())
        exchange = await provider.asked()
        if tokens:
            await enough.wait()
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        if how == "close":
            await events.aclose()
            await events.aclose()
        await exchange.gone.wait()
        assert text_of(await run(backend)) == "new"


async def test_edge_18_closing_between_two_tokens_closes_the_connection(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(stalling(sse(api.text("a"))))
    async with made() as backend:
        events = backend.generate(ASKED)
        assert await anext(events) == TextDelta("a")
        await events.aclose()
        await provider.posts[0].gone.wait()


async def test_edge_18_giving_up_while_a_retry_is_awaited_sends_nothing_more(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(answering(429, {"error": {}}, retry_after="15"))
    async with made() as backend:
        consuming = asyncio.create_task(run(backend))
        await provider.asked()
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming
        assert len(provider.posts) == 1


async def test_many_answers_at_once_do_not_mix(api: Dialect, provider: FaultServer, made: Make) -> None:
    async def echo(exchange: Exchange) -> None:
        (message,) = exchange.body.get("messages") or exchange.body["input"]
        await streaming(api.answer(*message["content"]))(exchange)

    provider.play(echo)
    asked = [f"question number {number}" for number in range(20)]
    async with made() as backend:
        answers = await asyncio.gather(
            *(run(backend, GenerationRequest((Message(Role.USER, (TextPart(text),)),))) for text in asked)
        )
    assert [text_of(answer) for answer in answers] == asked
