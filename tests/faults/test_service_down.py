"""One of the three services is down: the orchestrator says which, and goes on when it is back."""

import grpc
import pytest
from parley.agent.v1 import agent_service_pb2 as pb

from services.common.status import from_rpc_error
from tests.support.servers import running
from tests.support.stack import FAKE_FLAGS, conversation, fake_stack

TITLES = {"stt": "speech-to-text", "llm": "language model", "tts": "text-to-speech"}


@pytest.mark.parametrize("name", ["stt", "tts"])
async def test_a_dead_service_costs_a_turn_names_itself_and_is_found_again(name: str) -> None:
    async with fake_stack() as stack, conversation(stack["orchestrator"].address) as client:
        await stack[name].kill()
        await client.append()
        await client.commit()
        error = await client.until("error")
        assert TITLES[name] in error.message
        assert "127.0.0.1" not in error.message
        if name == "tts":
            assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_FAILED
        port = stack[name].address.rpartition(":")[2]
        async with running(name, *FAKE_FLAGS[name], f"--port={port}"):
            transcript = ""
            while not transcript:  # an error, or nothing heard: the audio before the commit was dropped
                await client.append()
                await client.commit()
                answered = await client.until("input_audio_transcription_completed", "error")
                transcript = getattr(answered, "transcript", "")
            while (await client.until("response_done")).status != pb.RESPONSE_STATUS_COMPLETED:
                await client.write_text("again")


async def test_a_commit_while_recognition_is_down_is_answered_with_an_error() -> None:
    async with fake_stack() as stack, conversation(stack["orchestrator"].address) as client:
        await stack["stt"].kill()
        for _ in range(3):
            await client.append()
            await client.commit()
            assert TITLES["stt"] in (await client.until("error")).message


async def test_without_the_language_model_no_session_opens_and_the_status_names_it() -> None:
    async with fake_stack() as stack:
        await stack["llm"].kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with conversation(stack["orchestrator"].address):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "language model" in from_rpc_error(caught.value).message


async def test_the_language_model_dying_in_the_middle_of_an_answer_fails_that_response_alone() -> None:
    slow = ("--fake_first_token_ms=0", "--fake_token_ms=200")
    async with fake_stack(llm=slow) as stack, conversation(stack["orchestrator"].address) as client:
        await client.append()
        await client.commit()
        await client.until("response_output_text_delta")
        await stack["llm"].kill()
        assert "language model" in (await client.until("error")).message
        failed = len(client.events)
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_FAILED
        said = "".join(event.response_output_text_delta.delta for event in client.events[failed:])
        assert said.startswith("Sorry")
        assert "response_output_audio_delta" in client.kinds()[failed:]
        await client.append()
        await client.commit()
        assert (await client.until("input_audio_transcription_completed")).transcript


async def test_a_client_that_leaves_in_the_middle_of_an_answer_frees_its_place() -> None:
    async with fake_stack(llm=("--fake_token_ms=200",), orchestrator=("--max_sessions=1",)) as stack:
        address = stack["orchestrator"].address
        async with conversation(address) as client:
            await client.append()
            await client.commit()
            await client.until("response_output_text_delta")
        while not await _opens(address):
            continue


async def _opens(address: str) -> bool:
    try:
        async with conversation(address):
            return True
    except grpc.aio.AioRpcError:
        return False
