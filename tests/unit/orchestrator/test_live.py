"""A live session over scripted services: its turns, from speech to what is kept."""

import asyncio

import pytest

from orchestrator import convert
from orchestrator.domain import ResponseDone, ResponseStatus, SpeechStarted, SpeechStopped, TranscriptCompleted
from orchestrator.messages import user_message
from orchestrator.stages.language_model import GenerationStarted
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer


async def test_speech_is_transcribed_answered_and_settled() -> None:
    async with Client(answer("Hello.")) as client:
        await client.say("hi")
        end = await client.until(ResponseDone)
        assert end.status is ResponseStatus.COMPLETED
        assert end.timings.endpointing is not None
        assert end.timings.final_transcript is not None
        assert [type(event) for event in client.events[1:4]] == [SpeechStarted, SpeechStopped, TranscriptCompleted]
        assert client.stages.llm.prompts[0].messages == (user_message("hi", "s_input_1_u"),)
        assert client.stages.llm.prompts[0].language_code == "en"


async def test_responses_follow_one_another_on_one_conversation() -> None:
    async with Client(answer("One."), answer("Two."), answer("Three.")) as client:
        ids = []
        for text in ("a", "b", "c"):
            await client.say(text)
            ids.append((await client.until(ResponseDone)).response_id)
        assert len(set(ids)) == 3
        assert {prompt.conversation_id for prompt in client.stages.llm.prompts} == {"conversation"}
        assert len(client.stages.llm.commits) == 3


@pytest.mark.parametrize("probability", [None, 0.25])
async def test_how_likely_the_turn_has_ended_reaches_the_client(probability: float | None) -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9, probability))
        stopped = await client.until(SpeechStopped)
        assert (stopped.item_id, stopped.end_s, stopped.turn_end_probability) == ("s_input_1_u", 0.9, probability)
        message = convert.converse_response(stopped, "e").input_audio_buffer_speech_stopped
        assert message.HasField("turn_end_probability") is (probability is not None)
        assert message.turn_end_probability == (probability or 0)


async def test_an_empty_transcript_is_reported_and_starts_no_turn() -> None:
    async with Client() as client:
        await client.say("")
        assert (await client.until(TranscriptCompleted)).text == ""
        await client.session.finish()
        assert client.stages.llm.prompts == []


async def test_finishing_waits_for_the_answer_to_the_last_words() -> None:
    async with Client(answer("Hello.")) as client:
        await client.say("hi")
        finishing = asyncio.create_task(client.session.finish())
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        await finishing


async def test_closing_in_the_middle_of_a_response_settles_what_was_heard() -> None:
    client = Client([GenerationStarted("held"), asyncio.Event()])
    async with client:
        await client.say("tell me")
        await client.until(TranscriptCompleted)
        while not client.stages.llm.prompts:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert client.stages.llm.commits == [("conversation", "held", "")]
    assert client.stages.stt.opened[0].cancelled
