"""A session that loses its process goes on elsewhere: conversations in a real Redis, two replicas of what is killed."""

import asyncio
import contextlib

import grpc
import pytest
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from tests.support.redis_server import needs_redis
from tests.support.replicas import replicas
from tests.support.servers import RunningServer
from tests.support.stack import Conversation, conversation

pytestmark = needs_redis
RECEIVED = "--fake_answer=I was told: {received}."


async def ask(client: Conversation, text: str) -> pb.ResponseDone:
    await client.write_text(text)
    done: pb.ResponseDone = await client.until("response_done")
    return done


async def say(client: Conversation) -> str:
    """Say something; returns its transcript."""
    await client.append()
    await client.commit()
    return str((await client.until("input_audio_transcription_completed")).transcript)


async def questions(llm: RunningServer, conversation_id: str) -> list[str]:
    """What the user has said, as the history has it."""
    async with grpc.aio.insecure_channel(llm.address) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        messages = (await stub.GetConversation(request)).conversation.messages
    return [message.content[0].text for message in messages if message.role == chat_pb2.ROLE_USER]


async def test_a_client_whose_orchestrator_dies_goes_on_with_another_and_no_turn_is_doubled() -> None:
    async with replicas(RECEIVED, "--fake_token_ms=30") as servers:
        first, second = servers.orchestrators
        async with conversation(first.address) as client:
            conversation_id = client.events[0].session_created.conversation_id
            assert (await ask(client, "My name is Ada.")).status == pb.RESPONSE_STATUS_COMPLETED
            await say(client)
            await client.until("response_output_audio_delta")
            await first.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await client.until("response_done")
        async with conversation(second.address, conversation_id=conversation_id) as client:
            said = await say(client)
            done = await client.until("response_done")
            assert "My name is Ada." in done.transcript
        assert await questions(servers.llms[0], conversation_id) == ["My name is Ada.", said]


async def test_a_client_that_is_cut_off_finds_what_it_heard_in_the_history() -> None:
    async with replicas("--fake_answer=One two three four five six seven eight nine ten.") as servers:
        first, second = servers.orchestrators
        async with conversation(first.address) as client:
            conversation_id = client.events[0].session_created.conversation_id
            await client.write_text("Count.")
            await client.until("response_output_audio_delta")
        async with conversation(second.address, conversation_id=conversation_id) as client:
            await ask(client, "Go on.")
        assert await questions(servers.llms[1], conversation_id) == ["Count.", "Go on."]


async def test_running_sessions_do_not_notice_that_a_language_model_replica_dies() -> None:
    async with replicas(RECEIVED) as servers, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(conversation(servers.orchestrators[number % 2].address))
            for number in range(8)
        ]
        await asyncio.gather(*(ask(client, "My name is Ada.") for client in clients))
        await servers.llms[0].kill()
        answers = await asyncio.gather(*(ask(client, "What is my name?") for client in clients))
        assert {answer.status for answer in answers} == {pb.RESPONSE_STATUS_COMPLETED}
        assert all("My name is Ada." in answer.transcript for answer in answers)
