"""What a live session does ahead: the model is readied while the user speaks, and an answer begun at a pause."""

import asyncio

import pytest

from orchestrator.domain import (
    ResponseDone,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
)
from orchestrator.messages import user_message
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer


async def test_who_leaves_while_the_model_is_readied_does_not_wait_for_it() -> None:
    client = Client()
    client.stages.llm.readied.clear()
    async with client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.0))
        await client.until(SpeechStarted)
        await asyncio.sleep(0)
        assert client.stages.llm.prefills == [""]


async def test_the_model_is_readied_when_the_user_begins_to_speak() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.0))
        await client.until(SpeechStarted)
        await asyncio.sleep(0)
        assert client.stages.llm.prefills == [""]


async def test_the_latest_words_are_told_ahead_one_call_at_a_time_and_none_once_an_answer_begins() -> None:
    async with Client(answer("Fine.")) as client:
        llm = client.stages.llm
        llm.readied.clear()
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.0))
        await asyncio.sleep(1)
        for text in ("how", "how are", "how are you", "how are you this"):
            client.hear(TranscriptUpdated("u", text, "en"))
        await asyncio.sleep(1)
        assert llm.prefills == [""]
        llm.readied.set()
        await asyncio.sleep(1)
        assert llm.prefills == ["", "how are you"]
        llm.readied.clear()
        client.hear(TranscriptUpdated("u", "how are you this day", "en"))
        await asyncio.sleep(1)
        client.hear(TranscriptUpdated("u", "how are you this day", "en"))
        client.hear(SpeechStopped("u", 1.0), TranscriptCompleted("u", "How are you this day?", "en"))
        await client.until(ResponseDone)
        llm.readied.set()
        await asyncio.sleep(1)
        assert llm.prefills == ["", "how are you", "how are you this"]


async def paused(client: Client, text: str, final: str) -> ResponseDone:
    """The user pauses after `text` for half a second; then their turn is over, and was `final`."""
    await client.session.append_audio(SECOND)
    client.hear(SpeechStarted("u", 0.1), SpeechPaused("u", 0.8), TranscriptUpdated("u", text, "en", at_pause=True))
    await asyncio.sleep(0.5)
    client.hear(SpeechStopped("u", 0.8), TranscriptCompleted("u", final, "en"))
    end = await client.until(ResponseDone)
    assert isinstance(end, ResponseDone)
    return end


async def test_what_was_begun_at_a_pause_is_there_when_the_turn_ends() -> None:
    async with Client(answer("Hello.")) as client:
        end = await paused(client, "good morning", "Good morning.")
        kinds = client.kinds()
        assert kinds.index("TranscriptCompleted") < kinds.index("ResponseCreated") < kinds.index("AudioDelta")
        assert len(client.stages.llm.prompts) == 1
        assert end.timings.first_token == pytest.approx(0.0, abs=0.01)
        assert end.timings.first_audio == pytest.approx(0.5, abs=0.01)


async def test_other_words_at_the_end_make_another_answer() -> None:
    async with Client(answer("Hello."), answer("Bye.")) as client:
        end = await paused(client, "good", "Good night.")
        assert end.transcript == "Bye."
        assert client.kinds().count("ResponseCreated") == 1
        assert client.stages.llm.discards == ["held"]
        assert [prompt.messages for prompt in client.stages.llm.prompts] == [
            (user_message("good", "s_input_1_u"),),
            (user_message("Good night.", "s_input_1_u"),),
        ]


async def test_who_goes_on_never_hears_of_what_was_begun() -> None:
    async with Client(answer("Hello."), answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        client.hear(
            SpeechStarted("u", 0.1), SpeechPaused("u", 0.3), TranscriptUpdated("u", "well", "en", at_pause=True)
        )
        await asyncio.sleep(0.3)
        client.hear(SpeechResumed("u"), SpeechStopped("u", 0.9), TranscriptCompleted("u", "Well, hello.", "en"))
        await client.until(ResponseDone)
        assert client.kinds().count("ResponseCreated") == 1
        assert client.stages.llm.discards == ["held"]


async def test_speculation_can_be_switched_off() -> None:
    async with Client(answer("Hello."), speculation=False) as client:
        await client.say("hi")
        await client.until(ResponseDone)
        assert not client.stages.stt.opened[0].pauses
