"""The Redis server of the LLM service's conversations is down, comes back empty, or was never there."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

import grpc
import pytest
from parley.llm.v1 import llm_service_pb2

from services.common.errors import ParleyError
from services.common.status import from_rpc_error
from tests.support.llm_client import client_of, text_of, user
from tests.support.redis_server import needs_redis, redis_server
from tests.support.servers import ROOT, server

SLOW = ("--llm_backend", "fake", "--fake_answer", "One. Two. Three.", "--fake_token_ms", "300")


async def refused(call: Awaitable[object]) -> ParleyError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@needs_redis
async def test_conversations_fail_clearly_while_redis_is_down_and_go_on_when_it_is_back() -> None:
    async with (
        redis_server() as redis,
        server("llm", *SLOW, "--conversation_store", redis.address) as address,
        client_of(address) as client,
    ):
        ident = await client.create()
        call = client.models.Generate(llm_service_pb2.GenerateRequest(conversation_id=ident, messages=[user("Hello")]))
        while not (await call.read()).HasField("text_delta"):
            continue
        await redis.kill()

        async def rest() -> None:
            while await call.read():
                continue

        attempts: tuple[Callable[[], Awaitable[object]], ...] = (
            rest,
            lambda: client.generate("Hello", conversation_id=ident),
            client.create,
            lambda: client.texts(ident),
            lambda: client.commit(ident, "r"),
        )
        for attempt in attempts:
            error = await refused(attempt())
            assert (error.reason, error.retry_after_s) == ("STORE_UNAVAILABLE", 1.0)
            assert error.message == "the store of conversations is not reachable; try again"
        assert text_of(await client.generate("Hello")) == "One. Two. Three.", "what needs no store works"

        await redis.start()
        assert (await refused(client.generate("Hello", conversation_id=ident))).reason == "CONVERSATION_NOT_FOUND"
        again = await client.create()
        await client.generate("Hello", conversation_id=again)
        assert await client.texts(again) == ["Hello", "One. Two. Three."]


async def test_a_server_without_its_redis_does_not_start_and_tells_no_password() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.llm", "--llm_backend=fake", "--port=0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={
            **os.environ,
            "PARLEY_CONVERSATION_STORE": "redis://ada:geheim@127.0.0.1:1/3",
            "PARLEY_LOG_LEVEL": "debug",
        },
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    printed = (out + err).decode()
    assert process.returncode == 1
    problem = "no Redis server answers at redis://127.0.0.1:1/3; start it, or correct the address"
    assert f"parley-llm: --conversation_store: {problem}" in printed.splitlines()
    assert "geheim" not in printed
