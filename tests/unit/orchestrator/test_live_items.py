"""Items that the client of a live session adds to the history or deletes from it."""

import asyncio
from dataclasses import replace

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.domain import (
    AudioDelta,
    Failure,
    ItemDeleted,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TurnDetection,
)
from orchestrator.messages import user_message
from orchestrator.stages.language_model import GenerationStarted
from services.common.errors import FailedPreconditionError, InvalidArgumentError
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer


async def test_items_enter_the_history_before_the_response_that_follows() -> None:
    async with Client(answer("Hello.")) as client:
        client.session.create_item(user_message("context"), "e1")
        client.session.create_response()
        await client.until(ResponseDone)
        assert [item.content[0].text for item in client.stages.llm.items] == ["context"]
        assert client.stages.llm.prompts[0].messages == ()


async def test_words_that_are_not_answered_by_themselves_are_in_the_history_before_the_response_asked_for() -> None:
    config = SessionConfig(turn_detection=TurnDetection(manual=True, create_response=False))
    async with Client(answer("Hello."), config=config) as client:
        await client.session.append_audio(SECOND)
        await client.session.commit_audio()
        client.session.create_response(replace(config, instructions="Rhyme."))
        client.hear(SpeechStopped("u", 1.0), TranscriptCompleted("u", "hi", "en"))
        await client.until(ResponseDone)
        assert client.stages.llm.items == [user_message("hi", "s_input_1_u")]
        assert client.stages.llm.configs[0].instructions == "Rhyme."


async def test_a_refused_item_names_the_client_event() -> None:
    async with Client() as client:

        async def refuse(conversation_id: str, message: chat_pb2.Message) -> None:
            raise InvalidArgumentError("unknown tool call", field="messages[0].tool_call_id")

        client.stages.llm.append_message = refuse
        client.session.create_item(user_message("x"), "e7")
        failure = await client.until(Failure)
        assert failure.client_event_id == "e7"


async def test_an_item_is_deleted_under_the_name_that_its_message_has() -> None:
    never = [*answer("A long answer.")[:-1], asyncio.Event()]
    async with Client(never) as client:
        await client.say("hi")
        await client.until(AudioDelta)
        response = next(event for event in client.events if isinstance(event, ResponseCreated))
        spoken = next(event.item_id for event in client.events if isinstance(event, TranscriptCompleted))
        prompt = client.stages.llm.prompts[0]
        assert [message.item_id for message in prompt.messages] == [spoken]
        assert prompt.item_id == response.item_id
        for item_id in (spoken, response.item_id):
            with pytest.raises(FailedPreconditionError, match="running"):
                client.session.delete_item(item_id, "")
        client.session.cancel_response("")
        await client.until(ResponseDone)
        await asyncio.sleep(0)
        client.session.delete_item(response.item_id, "")
        assert (await client.until(ItemDeleted)).item_id == response.item_id
        assert client.stages.llm.deleted == [response.item_id]


async def test_the_output_of_a_call_that_was_deleted_is_not_waited_for() -> None:
    call = chat_pb2.ToolCall(id="call_1", name="f", arguments_json="{}")
    script = [GenerationStarted("held"), call, *answer()[1:]]
    async with Client(script, answer("Well.")) as client:
        await client.say("hi")
        await client.until(ResponseDone)
        await asyncio.sleep(0)
        client.session.delete_item("call_1", "")
        await client.until(ItemDeleted)
        client.session.create_item(chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id="call_1"), "")
        client.session.create_response()
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        assert client.stages.llm.items == [], "it goes nowhere"


@pytest.mark.parametrize("missing_ok", [True, False])
async def test_an_item_that_left_nothing_in_the_history_is_deleted_where_the_client_may_know_it(
    *, missing_ok: bool
) -> None:
    async with Client() as client:
        client.stages.llm.missing.add("i")
        client.session.delete_item("i", "e", missing_ok=missing_ok)
        if missing_ok:
            assert (await client.until(ItemDeleted)).item_id == "i"
        else:
            failure = await client.until(Failure)
            assert (failure.client_event_id, failure.error.field) == ("e", "conversation_item_delete.item_id")


async def test_words_on_their_way_to_the_history_are_not_deleted_from_it() -> None:
    never = [*answer("A long answer.")[:-1], asyncio.Event()]
    quiet = SessionConfig(turn_detection=TurnDetection(interrupt_response=False))
    async with Client(never, answer("Two."), config=quiet) as client:
        await client.say("hi")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.1), SpeechStopped("v", 1.5))
        await client.until(SpeechStopped)
        for words in (None, TranscriptCompleted("v", "and you", "en")):
            if words is not None:
                client.hear(words)
                await client.until(TranscriptCompleted)
            with pytest.raises(FailedPreconditionError, match="not in the conversation yet"):
                client.session.delete_item(client.events[-1].item_id, "")
