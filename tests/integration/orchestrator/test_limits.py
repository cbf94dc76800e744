"""Limits of sessions, over the four real programs."""

import signal
from typing import Any

import grpc
import pytest
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import audio_pb2

from services.common.status import from_rpc_error
from tests.support.stack import SPEECH, conversation, fake_stack

LOUD = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_F32LE, sample_rate_hertz=48_000, channel_count=8)
"""1.5 MB a second."""


@pytest.mark.parametrize("flag", ["--session_idle_timeout_s=0.5", "--session_max_s=0.5"])
async def test_a_session_over_its_limit_ends_with_a_retry_hint_and_goes_on_in_a_new_one(flag: str) -> None:
    async with fake_stack(orchestrator=(flag,)) as stack:
        address = stack["orchestrator"].address
        async with conversation(address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.until("response_done")
            conversation_id = client.events[0].session_created.conversation_id
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert from_rpc_error(caught.value).retry_after_s == 0.0
        async with conversation(address, conversation_id=conversation_id) as client:
            await client.write_text("hello")
            assert (await client.until("response_created")).response_id


async def test_a_server_that_shuts_down_finishes_the_turn_and_sends_the_client_elsewhere() -> None:
    async with fake_stack(orchestrator=("--drain_wait_s=0", "--drain_grace_s=3600")) as stack:
        orchestrator = stack["orchestrator"]
        async with conversation(orchestrator.address) as client:
            await client.append()
            await client.commit()
            await client.until("response_created")
            orchestrator.process.send_signal(signal.SIGTERM)
            done = await client.until("response_done")
            assert done.status == pb.RESPONSE_STATUS_COMPLETED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.until("error")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert from_rpc_error(caught.value).reason == "SERVER_DRAINING"
        assert await orchestrator.process.wait() == 0


async def test_edge_19_a_client_that_stops_reading_gives_its_place_back() -> None:
    limits = ("--client_read_timeout_s=0.5", "--max_sessions=1")
    long_answer = ("--fake_token_ms=0", "--fake_first_token_ms=0", f"--fake_answer={'One sentence. ' * 100}")
    async with fake_stack(orchestrator=limits, llm=long_answer) as stack:
        address = stack["orchestrator"].address
        async with grpc.aio.insecure_channel(address) as channel:
            session = pb.SessionConfig(input_audio_format=SPEECH, output_audio_format=LOUD)
            call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Respond(
                pb.RespondRequest(session=session, text="Tell me everything.")
            )
            await call.read()
            while not await _opens(address):
                continue
            assert "client does not read" in [entry["message"] for entry in stack["orchestrator"].logs]
            with pytest.raises(grpc.aio.AioRpcError) as caught:  # it reads again after all
                await _read_to_the_end(call)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _opens(address: str) -> bool:
    try:
        async with conversation(address):
            return True
    except grpc.aio.AioRpcError:
        return False


async def _read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        continue
