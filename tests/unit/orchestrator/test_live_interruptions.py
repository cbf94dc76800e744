"""Who interrupts a live session's answer, what stops it and what lets it go on."""

import asyncio

import pytest

from orchestrator.domain import (
    AudioDelta,
    Failure,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
    TurnDetection,
)
from orchestrator.messages import user_message
from orchestrator.stages.language_model import GenerationStarted
from services.common.errors import InvalidArgumentError, UpstreamTimeoutError
from tests.support.live_client import Client
from tests.support.scripted_stages import answer


async def test_user_speech_stops_the_response_before_the_client_hears_more() -> None:
    never = [*answer("A long answer.")[:-1], asyncio.Event()]
    async with Client(never, answer("Yes?")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        await client.say("wait")
        await client.until(SpeechStarted)
        first = await client.until(ResponseDone)
        assert first.status is ResponseStatus.CANCELLED
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        assert client.stages.llm.commits[0][2] == first.transcript
        assert client.stages.llm.prompts[1].messages == (user_message("wait", "s_input_1_u"),)
        assert client.registry.get_sample_value("parley_barge_in_stop_seconds_count") == 1
        for outcome in ("cancelled", "completed"):
            assert client.registry.get_sample_value("parley_turns_total", {"outcome": outcome}) == 1


def kinds_after(client: Client, index: int) -> list[type]:
    return [type(event) for event in client.events[index:]]


async def rest(client: Client) -> list[ServerEvent]:
    """All that comes until the session has nothing more to do."""
    begun = len(client.events)
    finishing = asyncio.create_task(client.session.finish())
    async for event in client.iterator:
        client.events.append(event)
    await finishing
    return client.events[begun:]


async def test_the_client_hears_of_the_users_voice_before_anything_else_and_then_gets_no_audio() -> None:
    async with Client(answer(*(["A sentence of one second."] * 20))) as client:
        await client.say("tell me")
        await client.until(AudioDelta)  # more waits in the outbox
        client.hear(SpeechStarted("v", 1.5))
        await asyncio.sleep(0.5)
        before = len(client.events)
        await client.until(SpeechStarted)
        assert kinds_after(client, before)[-1] is SpeechStarted
        assert AudioDelta not in kinds_after(client, before)
        client.hear(TranscriptUpdated("v", "wait a moment", "en"))
        end = await client.until(ResponseDone)
        assert AudioDelta not in kinds_after(client, before)
        assert end.status is ResponseStatus.CANCELLED


@pytest.mark.parametrize("text", ["", "mm-hm", "Yeah, okay."])
async def test_a_cough_or_a_backchannel_does_not_lose_the_answer(text: str) -> None:
    async with Client(answer("One two three four.", "Five six.")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        await asyncio.sleep(0.3)
        client.hear(SpeechStarted("v", 1.5))
        await asyncio.sleep(0.4)
        client.hear(SpeechStopped("v", 1.7), TranscriptCompleted("v", text, "en"))
        events = await rest(client)
    end = events[-1]
    assert isinstance(end, ResponseDone)
    assert end.status is ResponseStatus.COMPLETED
    assert end.transcript == "One two three four. Five six."
    again = events[[type(event) for event in events].index(TranscriptCompleted) :]
    audio = [event for event in again if isinstance(event, AudioDelta)]
    assert audio[0].offset_s == pytest.approx(0.3, abs=0.001)
    assert len(client.stages.llm.prompts) == 1


async def test_without_words_the_answer_goes_on_after_a_time() -> None:
    async with Client(answer("One two three four.")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.5))
        begun = asyncio.get_running_loop().time()
        await client.until(SpeechStarted)
        await client.until(AudioDelta)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0, abs=0.01)
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


async def test_words_that_come_after_the_answer_went_on_stop_the_client_again() -> None:
    async with Client(answer(*(["A sentence of one second."] * 20)), answer("Yes?")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.5))
        await client.until(SpeechStarted)
        await client.until(AudioDelta)
        client.hear(TranscriptUpdated("v", "stop", "en"))
        again = await client.until(SpeechStarted)
        assert again.item_id == "s_input_1_v"
        assert (await client.until(ResponseDone)).status is ResponseStatus.CANCELLED


async def test_late_words_stop_the_client_before_their_final_transcript_which_is_the_last_of_them() -> None:
    never = [*answer("A long answer.")[:-1], asyncio.Event()]
    async with Client(never, answer("Yes?")) as client:
        await client.say("tell me")
        client.hear(SpeechStarted("v", 1.5), SpeechStopped("v", 1.9))
        await client.until(AudioDelta)
        before = len(client.events)
        client.hear(TranscriptCompleted("v", "wait please", "en"))
        await client.until(ResponseDone)
        told = [event for event in client.events[before:] if isinstance(event, SpeechStarted | TranscriptCompleted)]
        assert [(type(event), event.item_id) for event in told] == [
            (SpeechStarted, "s_input_1_v"),
            (TranscriptCompleted, "s_input_1_v"),
        ]


async def test_the_next_turn_knows_only_what_was_heard() -> None:
    async with Client(answer("One two three four.", "Five."), answer("Yes?")) as client:
        await client.say("count")
        await client.until(AudioDelta)
        await asyncio.sleep(0.5)
        client.session.truncate(client.events[-1].item_id, 0.3)  # type: ignore[union-attr]
        await client.say("stop that")
        assert (await client.until(ResponseDone)).transcript == "One"
        await client.until(ResponseDone)
        assert client.stages.llm.commits[0] == ("conversation", "held", "One")


GUARDED = SessionConfig(turn_detection=TurnDetection(echo_guard=True))


async def test_edge_32_the_agents_own_voice_does_not_stop_it_where_the_client_has_an_echo() -> None:
    async with Client(answer("The museum opens at nine."), config=GUARDED) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.5), TranscriptUpdated("v", "the museum opens", "en"))
        client.hear(SpeechStopped("v", 1.9), TranscriptCompleted("v", "The museum opens at night.", "en"))
        end = await client.until(ResponseDone)
        assert end.status is ResponseStatus.COMPLETED
        assert len(client.stages.llm.prompts) == 1


async def test_edge_32_the_users_words_still_stop_it() -> None:
    async with Client(answer(*(["A sentence of one second."] * 20)), answer("Yes?"), config=GUARDED) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.5), TranscriptUpdated("v", "wait please", "en"))
        assert (await client.until(ResponseDone)).status is ResponseStatus.CANCELLED


async def test_lost_recognition_lets_a_held_answer_go_on() -> None:
    async with Client(answer("One two three four.")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        client.hear(SpeechStarted("v", 1.5))
        await client.until(SpeechStarted)
        client.hear(UpstreamTimeoutError("the speech-to-text service took too long"))
        await client.until(Failure)
        await client.until(AudioDelta)


async def test_response_cancel_stops_it_and_a_second_one_is_an_error() -> None:
    async with Client([GenerationStarted("held"), asyncio.Event()]) as client:
        await client.say("tell me")
        await client.until(TranscriptCompleted)
        client.session.cancel_response("")
        assert (await client.until(ResponseDone)).status is ResponseStatus.CANCELLED
        with pytest.raises(InvalidArgumentError):
            client.session.cancel_response("")


async def test_truncating_something_that_is_not_spoken_is_an_error() -> None:
    async with Client() as client:
        with pytest.raises(InvalidArgumentError):
            client.session.truncate("nothing", 1.0)


async def test_a_client_that_cancels_gets_no_audio_that_waited() -> None:
    async with Client(answer(*(["A sentence of one second."] * 20))) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        await asyncio.sleep(0.1)  # more waits in the outbox
        client.session.cancel_response("")
        before = len(client.events)
        await client.until(ResponseDone)
        assert AudioDelta not in kinds_after(client, before)
