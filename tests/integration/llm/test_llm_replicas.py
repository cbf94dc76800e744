"""Two LLM servers as processes on one real Redis server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from parley.llm.v1 import llm_service_pb2

from services.common.status import from_rpc_error
from tests.support.llm_client import LlmClient, client_of, text_of, user
from tests.support.redis_server import needs_redis, redis_server
from tests.support.servers import running, server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_redis]

ECHO = ("--llm_backend", "fake", "--fake_answer", "I got: {received}.", "--init_chat_prompt", " ")
ENDLESS = ("--llm_backend", "fake", "--fake_answer", "One. Two. Three.", "--fake_token_ms", "3600000")
HELD = llm_service_pb2.COMMIT_POLICY_HELD


@dataclass
class Replicas:
    """Clients of both, and what a third one needs."""

    one: LlmClient
    other: LlmClient
    store: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas() -> AsyncIterator[Replicas]:
    async with redis_server() as redis:
        store = ("--conversation_store", redis.address)
        async with (
            server("llm", *ECHO, *store) as first,
            server("llm", *ECHO, *store) as second,
            client_of(first) as one,
            client_of(second) as other,
        ):
            yield Replicas(one, other, redis.address)


async def test_a_conversation_moves_from_one_server_to_the_other(replicas: Replicas) -> None:
    ident = await replicas.one.create()
    await replicas.one.generate("My name is Ada", conversation_id=ident)
    await replicas.other.generate("How are you?", conversation_id=ident)
    received = text_of(await replicas.one.generate("What is my name?", conversation_id=ident))
    assert "user: My name is Ada | assistant: " in received
    assert "user: How are you? | assistant: " in received
    assert received.endswith("| user: What is my name?.")


async def test_edge_28_a_held_turn_of_one_server_is_committed_on_the_other(replicas: Replicas) -> None:
    ident = await replicas.one.create()
    responses = await replicas.one.generate("Hello", conversation_id=ident, commit_policy=HELD)
    await replicas.other.commit(ident, responses[0].started.response_id, "I got: user")
    assert await replicas.one.texts(ident) == ["Hello", "I got: user"]


async def test_edge_27_what_both_servers_add_at_once_is_all_there(replicas: Replicas) -> None:
    ident = await replicas.one.create()
    clients = (replicas.one, replicas.other)
    texts = [f"{n} of {side}" for n in range(10) for side in range(2)]
    await asyncio.gather(*(clients[n % 2].append(ident, user(text)) for n, text in enumerate(texts)))
    assert sorted(await replicas.other.texts(ident)) == sorted(texts)


async def test_edge_27_a_turn_that_meets_one_elsewhere_is_aborted_with_a_hint_and_answered_after_its_death(
    replicas: Replicas,
) -> None:
    """The claim of a server that is killed in the middle of its turn stays for some seconds, as if it still ran."""
    async with (
        running("llm", *ENDLESS, "--conversation_store", replicas.store) as third,
        client_of(third.address) as client,
    ):
        ident = await client.create()
        request = llm_service_pb2.GenerateRequest(conversation_id=ident, messages=[user("Hello")], commit_policy=HELD)
        call = client.models.Generate(request)
        response_id = (await call.read()).started.response_id
        assert (await call.read()).text_delta.text == "One."
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replicas.one.generate("Hello", conversation_id=ident)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        error = from_rpc_error(caught.value)
        assert (error.reason, error.retry_after_s) == ("CONVERSATION_BUSY", 1.0)
        await third.kill()
        await replicas.other.append(ident, user("I am still here"))
        commit = asyncio.create_task(replicas.other.commit(ident, response_id, "One."))
        await replicas.one.texts(ident)
        assert not commit.done(), "who died is not known yet"
        assert text_of(await replicas.one.generate("And now?", conversation_id=ident)).endswith("| user: And now?.")
        await commit
        assert (await replicas.one.texts(ident))[:4] == ["Hello", "One.", "I am still here", "And now?"]
