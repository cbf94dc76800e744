"""Functions that the model calls in a live session."""

import asyncio
from typing import Any

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ResponseDone,
    ResponseStatus,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
)
from orchestrator.stages.language_model import GenerationStarted
from services.common.errors import ToolOutputPendingError, UpstreamError
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer

CALL = chat_pb2.ToolCall(id="call_1", name="get_time", arguments_json="{}")


def calling(*sentences: str, calls: tuple[chat_pb2.ToolCall, ...] = (CALL,)) -> list[Any]:
    """The model says something and calls functions."""
    script = answer(*sentences)
    return [*script[:-1], *calls, script[-1]]


def output(call_id: str = "call_1", text: str = "noon") -> chat_pb2.Message:
    part = chat_pb2.ContentPart(text=text)
    return chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=call_id, content=[part])


def items(client: Client) -> list[str]:
    return [f"{item.role}: {item.content[0].text}" for item in client.stages.llm.items]


async def test_edge_08_a_call_is_told_at_once_while_its_lead_in_is_spoken() -> None:
    async with Client(calling("One moment, let me look.")) as client:
        await client.say("what time is it")
        call = await client.until(FunctionCall)
        assert call.call == CALL
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


async def test_the_turn_continues_by_itself_once_the_output_is_there() -> None:
    async with Client(calling("One moment."), answer("It is noon.")) as client:
        await client.say("what time is it")
        await client.until(ResponseDone)
        await asyncio.sleep(30.0)  # the client's function takes its time, which is no delay of ours
        client.session.create_item(output(), "e1")
        end = await client.until(ResponseDone)
        assert end.transcript == "It is noon."
        assert end.timings.endpointing is None
        assert end.timings.first_audio is not None
        assert end.timings.first_audio < 1.0
        assert client.stages.llm.prompts[1].messages == ()
        assert items(client) == [f"{chat_pb2.ROLE_TOOL}: noon"]


async def test_an_output_that_is_quick_does_not_wait_for_the_end_of_the_lead_in() -> None:
    async with Client(calling("One moment, let me look that up.", "This takes a while."), answer("Noon.")) as client:
        await client.say("what time is it")
        await client.until(FunctionCall)
        begun = asyncio.get_running_loop().time()
        client.session.create_item(output(), "e1")
        await client.until(ResponseDone)
        first = await client.until(AudioDelta)
        assert asyncio.get_running_loop().time() - begun < 0.1
        assert first.offset_s == 0.0
        assert client.stages.llm.commits[0] == ("conversation", "held", None)
        await client.until(ResponseDone)
        # Two seconds of lead-in are played before the answer's one second.
        assert asyncio.get_running_loop().time() - begun == pytest.approx(3.0, abs=0.05)


async def test_edge_10_several_calls_are_all_waited_for() -> None:
    calls = (CALL, chat_pb2.ToolCall(id="call_2", name="get_date", arguments_json="{}"))
    async with Client(calling("One moment.", calls=calls), answer("Noon on Monday.")) as client:
        await client.say("what time is it")
        await client.until(ResponseDone)
        client.session.create_item(output("call_2", "Monday"), "e1")
        await asyncio.sleep(1)
        assert len(client.stages.llm.prompts) == 1
        client.session.create_item(output("call_1"), "e2")
        assert (await client.until(ResponseDone)).transcript == "Noon on Monday."


async def test_who_interrupts_the_lead_in_takes_the_call_back() -> None:
    async with Client(calling("One moment, let me look that up for you."), answer("All right.")) as client:
        await client.say("what time is it")
        await client.until(FunctionCall)
        await asyncio.sleep(0.4)
        await client.say("forget it")
        assert (await client.until(ResponseDone)).status is ResponseStatus.CANCELLED
        client.session.create_item(output(), "e1")
        assert (await client.until(ResponseDone)).transcript == "All right."
        assert items(client) == []
        assert "Failure" not in client.kinds()


async def test_a_late_output_is_told_to_the_model_and_spoken_of() -> None:
    async with Client(calling("One moment."), answer("Yes?"), answer("It is noon, by the way.")) as client:
        await client.say("what time is it")
        await client.until(ResponseDone)
        await client.say("and another thing")
        assert (await client.until(ResponseDone)).transcript == "Yes?"
        client.session.create_item(output(), "e1")
        assert (await client.until(ResponseDone)).transcript == "It is noon, by the way."
        roles = [item.role for item in client.stages.llm.items]
        assert roles == [chat_pb2.ROLE_TOOL, chat_pb2.ROLE_SYSTEM]
        assert items(client)[1].endswith("noon")


async def test_a_call_of_a_speculation_is_told_only_when_the_turn_is_over() -> None:
    async with Client(calling("One moment.")) as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.1), SpeechPaused("u", 0.8))
        client.hear(TranscriptUpdated("u", "what time is it", "en", at_pause=True))
        await asyncio.sleep(0.5)
        client.hear(SpeechStopped("u", 0.8), TranscriptCompleted("u", "What time is it?", "en"))
        await client.until(FunctionCall)
        assert client.kinds().index("TranscriptCompleted") < client.kinds().index("FunctionCall")


async def test_an_output_that_could_not_be_kept_leaves_a_session_that_can_be_spoken_to() -> None:
    failed = [GenerationStarted("held"), ToolOutputPendingError("a tool call waits for its output")]
    async with Client(calling("One moment."), failed, answer("Yes?")) as client:
        await client.say("what time is it")
        await client.until(ResponseDone)
        keep = client.stages.llm.append_message

        async def fail(conversation_id: str, message: chat_pb2.Message) -> None:
            raise UpstreamError("the language model service is not reachable")

        client.stages.llm.append_message = fail
        client.session.create_item(output(), "e1")
        assert (await client.until(Failure)).client_event_id == "e1"
        assert (await client.until(ResponseDone)).status is ResponseStatus.FAILED
        client.stages.llm.append_message = keep
        await client.say("are you there")
        assert (await client.until(ResponseDone)).transcript == "Yes?"
        assert [item.tool_call_id for item in client.stages.llm.items] == ["call_1"]
