"""Functions of the client in a live session: the four real programs, and a model whose words are scripted."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2

from tests.support.dialects import Chat, sse
from tests.support.fault_server import MODEL, FaultServer, fault_server, streaming
from tests.support.stack import Conversation, conversation, fake_stack

CHAT = Chat()
TOOL = chat_pb2.Tool(
    name="get_time", description="Tells the time.", parameters_json_schema='{"type": "object", "properties": {}}'
)


def calling(text: str, *call_ids: str) -> Any:
    calls = [event for place, ident in enumerate(call_ids) for event in CHAT.call(ident, "get_time", "{}", place=place)]
    return streaming(sse(CHAT.text(text), *calls, *CHAT.end("tool_calls")))


def saying(text: str) -> Any:
    return streaming(CHAT.answer(text))


@contextlib.asynccontextmanager
async def session() -> AsyncIterator[tuple[Conversation, FaultServer]]:
    async with fault_server() as model:
        llm = ("--llm_backend=chat-completions", f"--model_name={MODEL}", f"--responses_api_base_url={model.url}")
        async with fake_stack(llm=llm) as stack, conversation(stack["orchestrator"].address, tools=[TOOL]) as client:
            yield client, model


async def give(client: Conversation, call_id: str, text: str) -> None:
    item = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=call_id, content=[chat_pb2.ContentPart(text=text)])
    await client.send(f"output of {call_id}", conversation_item_create=pb.ConversationItemCreate(item=item))


def context(model: FaultServer) -> list[tuple[str, str]]:
    """What the model got last: roles and texts, without the instructions."""
    return [(m["role"], m.get("content") or "") for m in model.posts[-1].body["messages"] if m["role"] != "system"]


async def test_a_turn_with_two_functions_goes_on_by_itself_when_both_outputs_are_in() -> None:
    async with session() as (client, model):
        model.play(calling("One moment.", "a", "b"), saying("It is noon."))
        await client.append()
        await client.commit()
        first = await client.until("response_function_call")
        second = await client.until("response_function_call")
        assert [first.call.name, second.call.name] == ["get_time", "get_time"]
        assert json.loads(first.call.arguments_json) == {}
        await give(client, second.call.id, "Monday")
        await give(client, first.call.id, "12:00")
        assert (await client.until("response_done")).transcript == "One moment."
        assert (await client.until("response_done")).transcript == "It is noon."
        assert [role for role, _ in context(model)] == ["user", "assistant", "tool", "tool"]
        assert len(model.posts) == 2
        assert client.audio()


async def test_who_asks_something_else_meanwhile_is_answered_and_hears_of_the_output_later() -> None:
    async with session() as (client, model):
        model.play(calling("One moment.", "a"), saying("Yes?"), saying("It is noon."))
        await client.append()
        await client.commit()
        call = (await client.until("response_function_call")).call
        await client.until("response_done")
        await client.append()
        await client.commit()
        assert (await client.until("response_done")).transcript == "Yes?"
        await give(client, call.id, "12:00")
        assert (await client.until("response_done")).transcript == "It is noon."
        assert "12:00" in model.posts[-1].body["messages"][-1]["content"]
        assert "error" not in client.kinds()


async def test_edge_13_the_output_of_an_unknown_call_is_an_error_that_names_the_client_event() -> None:
    async with session() as (client, model):
        model.play(saying("Hello."))
        await give(client, "nothing", "12:00")
        error = await client.until("error")
        assert error.client_event_id == "output of nothing"
        await client.write_text("hello")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
