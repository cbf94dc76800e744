"""What the table of outcomes (test_outcomes.py) does not ask of services that are down, and of clients that leave."""

import grpc
import pytest

from services.common.status import from_rpc_error
from tests.support.stack import conversation, fake_stack


async def test_a_commit_while_recognition_is_down_is_answered_with_an_error() -> None:
    async with fake_stack() as stack, conversation(stack["orchestrator"].address) as client:
        await stack["stt"].kill()
        for _ in range(3):
            await client.append()
            await client.commit()
            assert "speech-to-text" in (await client.until("error")).message


async def test_without_the_language_model_no_session_opens_and_the_status_names_it() -> None:
    async with fake_stack() as stack:
        await stack["llm"].kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with conversation(stack["orchestrator"].address):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "language model" in from_rpc_error(caught.value).message


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
