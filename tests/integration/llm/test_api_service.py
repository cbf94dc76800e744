"""parley-llm in front of a provider that is played: what clients of the contract see."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from parley.llm.v1 import llm_service_pb2

from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.support.dialects import DIALECTS, Dialect, sse
from tests.support.fault_server import MODEL, FaultServer, answering, fault_server, stalling, streaming
from tests.support.llm_client import LlmClient, text_of, user
from tests.support.servers import RunningServer, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "test-key-never-told"


class Client(LlmClient):
    """A client, the server behind it, and the provider behind that."""

    def __init__(self, api: Dialect, provider: FaultServer, server: RunningServer, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self.api, self.provider, self.server = api, provider, server

    def ask(self, text: str, **fields: Any) -> Any:
        """A running call."""
        return self.models.Generate(llm_service_pb2.GenerateRequest(messages=[user(text)], **fields))

    async def failure(self, text: str, **fields: Any) -> tuple[grpc.StatusCode, ParleyError]:
        """How a turn fails."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.generate(text, **fields)
        return caught.value.code(), from_rpc_error(caught.value)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DIALECTS, ids=lambda dialect: dialect.backend)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    api: Dialect = request.param
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(fault_server())
        flags = (f"--llm_backend={api.backend}", f"--model_name={MODEL}", f"--responses_api_base_url={provider.url}")
        environment = {"PARLEY_RESPONSES_API_API_KEY": KEY, "PARLEY_RESPONSES_API_MAX_RETRIES": "0"}
        server = await stack.enter_async_context(running("llm", *flags, "--log_level=debug", env=environment))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        yield Client(api, provider, server, channel)


async def test_a_turn_streams_text_and_speech(client: Client) -> None:
    client.provider.play(streaming(client.api.answer("Hel", "lo. ", "How are you?")))
    started, *events, completed = await client.generate("Hi", enable_speech_segments=True)
    assert (started.started.model, started.started.backend) == (MODEL, client.api.backend)
    assert text_of(events) == "Hello. How are you?"
    assert [event.speech_segment.text for event in events if event.HasField("speech_segment")] == [
        "Hello.",
        "How are you?",
    ]
    assert completed.completed.usage.output_tokens == 3


@pytest.mark.parametrize(
    ("status", "headers", "code", "reason", "retry_after_s"),
    [
        (401, {}, grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_UNAUTHENTICATED", None),
        (404, {}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", None),
        (429, {"retry_after": "7"}, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", 7.0),
        (413, {}, grpc.StatusCode.FAILED_PRECONDITION, "CONTEXT_LENGTH_EXCEEDED", None),
        (503, {}, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_ERROR", 1.0),
        (504, {}, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", 1.0),
    ],
)
async def test_edge_21_a_failed_turn_has_a_clear_status_and_leaves_no_trace(
    client: Client,
    status: int,
    headers: dict[str, str],
    code: grpc.StatusCode,
    reason: str,
    retry_after_s: float | None,
) -> None:
    ident = await client.create()
    body = {"error": {"message": f"the model is not well; key {KEY}"}}
    client.provider.play(answering(status, body, **headers))
    told, error = await client.failure("Hi", conversation_id=ident)
    assert (told, error.reason, error.retry_after_s) == (code, reason, retry_after_s)
    assert KEY not in error.message
    assert await client.texts(ident) == []


async def test_edge_21_an_answer_that_breaks_off_leaves_no_trace(client: Client) -> None:
    ident = await client.create()
    client.provider.play(streaming(sse(client.api.text("Hello")), ends=False))
    code, error = await client.failure("Hi", conversation_id=ident)
    assert (code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_ERROR")
    assert await client.texts(ident) == []


async def test_an_empty_answer_is_no_success(client: Client) -> None:
    client.provider.play(streaming(sse(*client.api.end())))
    assert (await client.failure("Hi"))[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("amid", [False, True])
async def test_edge_18_a_cancelled_call_closes_the_connection_to_the_provider(client: Client, amid: bool) -> None:
    ident, before = await client.create(), len(client.provider.posts)
    client.provider.play(stalling(sse(client.api.text("Hello")) if amid else []))
    call = client.ask("Hi", conversation_id=ident)
    exchange = await client.provider.asked(before + 1)
    while amid and not (await call.read()).HasField("text_delta"):
        continue
    call.cancel()
    await exchange.gone.wait()
    client.provider.play(streaming(client.api.answer("Back.")))
    assert await client.texts(ident) == []
    await client.generate("Again", conversation_id=ident)
    assert await client.texts(ident) == ["Again", "Back."]


async def test_edge_19_a_client_that_does_not_read_holds_up_nobody(client: Client) -> None:
    """The provider's answer is taken to its end, and its connection is free, while the client reads nothing."""
    before = len(client.provider.posts)
    client.provider.play(streaming(client.api.answer(*["word "] * 50)))
    idle = client.ask("Hi")
    await client.provider.asked(before + 1)
    await client.generate("Hi")
    assert text_of([response async for response in idle]) == "word " * 50


async def test_the_key_is_nowhere_to_be_seen(client: Client) -> None:
    assert client.provider.exchanges[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(client.server.logs)
    assert KEY not in str(psutil.Process(client.server.pid).cmdline())
