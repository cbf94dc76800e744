"""Several replicas, a fallback, and what a session keeps when one of them goes."""

import asyncio
import contextlib

import pytest
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.redis_server import needs_redis, redis_server
from tests.support.replicas import all_used, replicated, spoken_turn, turn
from tests.support.servers import running
from tests.support.stack import FAKE_FLAGS, conversation

SESSIONS = 50
RECEIVED = "--fake_answer={received}"


@pytest.mark.parametrize("name", ["tts", "stt", pytest.param("llm", marks=needs_redis)])
async def test_a_killed_replica_ends_no_session_and_costs_a_turn_at_most(name: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        flags: tuple[str, ...] = ("--metrics_port=0",)
        if name == "llm":  # replicas of it share their conversations
            redis = await stack.enter_async_context(redis_server())
            flags += (f"--conversation_store={redis.address}", "--fake_token_ms=20")
        address, pair = await stack.enter_async_context(replicated(name, *flags))
        ask = spoken_turn if name == "stt" else turn
        await all_used(address, pair, ask)
        clients = [await stack.enter_async_context(conversation(address)) for _ in range(SESSIONS)]
        assert set(await asyncio.gather(*map(ask, clients))) == {pb.RESPONSE_STATUS_COMPLETED}
        running_turns = [asyncio.create_task(ask(client)) for client in clients]
        await pair[0].kill()
        ended = await asyncio.gather(*running_turns)
        lost = ended.count(pb.RESPONSE_STATUS_FAILED)
        assert ended.count(pb.RESPONSE_STATUS_COMPLETED) == SESSIONS - lost
        if name != "llm":  # where an answer that has begun is not begun again
            assert lost == 0
        assert lost < SESSIONS * 4 // 5, "conversations stay at one of the two, by a hash of their ids"
        assert set(await asyncio.gather(*map(ask, clients))) == {pb.RESPONSE_STATUS_COMPLETED}


async def test_a_restarted_language_model_is_given_the_conversations_that_it_has_forgotten() -> None:
    async with contextlib.AsyncExitStack() as stack:
        targets = {}
        for name in FAKE_FLAGS.keys() - {"llm"}:
            targets[name] = (await stack.enter_async_context(running(name, *FAKE_FLAGS[name]))).address
        first = await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"], RECEIVED))
        targets["llm"] = first.address
        flags = (f"--{name}_target={target}" for name, target in targets.items())
        orchestrator = await stack.enter_async_context(running("orchestrator", *flags))
        client = await stack.enter_async_context(conversation(orchestrator.address))
        await client.write_text("My name is Ada.")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
        await first.kill()
        port = first.address.rpartition(":")[2]
        await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"], RECEIVED, f"--port={port}"))
        status = pb.RESPONSE_STATUS_FAILED
        while status != pb.RESPONSE_STATUS_COMPLETED:  # until the orchestrator has found it again
            await client.write_text("What is my name?")
            done = await client.until("response_done")
            status = done.status
        assert "My name is Ada." in done.transcript


async def test_the_fallback_answers_with_the_whole_history_where_the_language_model_is_down() -> None:
    async with contextlib.AsyncExitStack() as stack:
        flags = []
        for name in FAKE_FLAGS.keys() - {"llm"}:
            other = await stack.enter_async_context(running(name, *FAKE_FLAGS[name]))
            flags.append(f"--{name}_target={other.address}")
        first = await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"]))
        fallback = await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"], RECEIVED))
        flags += [f"--llm_target={first.address}", f"--llm_fallback_target={fallback.address}"]
        orchestrator = await stack.enter_async_context(running("orchestrator", *flags))
        client = await stack.enter_async_context(conversation(orchestrator.address))
        await client.write_text("My name is Ada.")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
        await first.kill()
        await client.write_text("What is my name?")
        done = await client.until("response_done")
        assert done.status == pb.RESPONSE_STATUS_COMPLETED
        assert "My name is Ada." in done.transcript
        newcomer = await stack.enter_async_context(conversation(orchestrator.address))
        assert await turn(newcomer) == pb.RESPONSE_STATUS_COMPLETED


async def test_a_language_model_that_is_slow_to_its_first_token_is_left_for_the_fallback() -> None:
    async with contextlib.AsyncExitStack() as stack:
        flags = ["--llm_first_token_timeout_s=0.2"]
        for name in FAKE_FLAGS.keys() - {"llm"}:
            other = await stack.enter_async_context(running(name, *FAKE_FLAGS[name]))
            flags.append(f"--{name}_target={other.address}")
        slow = await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"], "--fake_first_token_ms=600000"))
        fallback = await stack.enter_async_context(running("llm", *FAKE_FLAGS["llm"], "--fake_answer=I am here."))
        flags += [f"--llm_target={slow.address}", f"--llm_fallback_target={fallback.address}"]
        orchestrator = await stack.enter_async_context(running("orchestrator", *flags))
        async with conversation(orchestrator.address) as client:
            await client.write_text("Hello")
            done = await client.until("response_done")
        assert (done.status, done.transcript) == (pb.RESPONSE_STATUS_COMPLETED, "I am here.")
