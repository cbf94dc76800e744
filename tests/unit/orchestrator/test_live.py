"""A live session over scripted services."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from parley.common.v1 import chat_pb2
from prometheus_client import CollectorRegistry

from orchestrator import convert
from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ItemDeleted,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    SessionCreated,
    SessionUpdated,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
    TurnDetection,
)
from orchestrator.live import LiveSession, SessionOptions
from orchestrator.messages import user_message
from orchestrator.metrics import TurnMetrics
from orchestrator.stages.language_model import GenerationStarted
from orchestrator.turn import TurnOptions
from services.common.errors import FailedPreconditionError, InvalidArgumentError, ToolOutputPendingError, UpstreamError
from tests.support.scripted_stages import ScriptedStages, answer

DEFAULT = SessionConfig()
SECOND = bytes(32_000)
"""One second of audio in the default input format."""


class Client:
    """The session's events as they come, and what the test does to it."""

    def __init__(self, *answers: list[Any], config: SessionConfig = DEFAULT, speculation: bool = True) -> None:
        self.stages = ScriptedStages()
        self.stages.llm.scripts.extend(answers)
        self.registry = CollectorRegistry()
        metrics = TurnMetrics(self.registry)
        stages: Any = self.stages
        self.session = LiveSession(stages, "s", config, SessionOptions(TurnOptions(60.0), speculation), metrics)
        self.events: list[ServerEvent] = []
        self.iterator = aiter(self.session.outbox)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    async def __aenter__(self) -> "Client":
        await self.session.open("conversation")
        await self.until(SessionCreated)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.session.aclose()

    async def until(self, kind: type) -> Any:
        while True:
            event = await anext(self.iterator)
            self.events.append(event)
            if isinstance(event, kind):
                return event

    def hear(self, *events: Any) -> None:
        for event in events:
            self.stages.stt.opened[-1].heard.put_nowait(event)

    async def say(self, text: str) -> None:
        await self.session.append_audio(SECOND)
        self.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9), TranscriptCompleted("u", text, "en"))


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
        client.hear(UpstreamError("the speech-to-text service is not reachable"))
        await client.until(Failure)
        await client.until(AudioDelta)


@pytest.mark.parametrize("manual", [False, True])
async def test_recognition_that_gives_no_transcript_in_time_is_lost_and_opened_again(manual: bool) -> None:
    config = SessionConfig(turn_detection=TurnDetection(manual=manual))
    async with Client(answer("Hello."), config=config) as client:
        await client.session.append_audio(SECOND)
        if manual:
            await client.session.commit_audio()
        client.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9))
        lost = await client.until(Failure)
        assert lost.error.message == "the speech-to-text service did not transcribe in time"
        assert client.stages.stt.opened[0].cancelled
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


async def test_a_transcript_that_comes_in_time_ends_the_wait_for_it() -> None:
    async with Client(answer("Hello.")) as client:
        await client.say("hi")
        await client.until(ResponseDone)
        await asyncio.sleep(1000)
        assert not client.stages.stt.opened[0].cancelled


async def test_recognition_that_takes_no_audio_is_lost_and_the_client_is_heard_again() -> None:
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        client.stages.stt.opened[0].taking.clear()
        await client.session.append_audio(SECOND)
        assert (await client.until(Failure)).error.message == "the speech-to-text service took no audio"
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


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


async def test_response_cancel_stops_it_and_a_second_one_is_an_error() -> None:
    async with Client([GenerationStarted("held"), asyncio.Event()]) as client:
        await client.say("tell me")
        await client.until(TranscriptCompleted)
        client.session.cancel_response("")
        assert (await client.until(ResponseDone)).status is ResponseStatus.CANCELLED
        with pytest.raises(InvalidArgumentError):
            client.session.cancel_response("")


async def test_manual_turns_end_by_commit() -> None:
    async with Client(answer("Hello."), config=SessionConfig(turn_detection=TurnDetection(manual=True))) as client:
        await client.session.append_audio(SECOND)
        await client.session.commit_audio()
        assert client.stages.stt.opened[0].forced == 1


async def test_audio_is_hurried_from_the_beginning_of_speech_to_the_end_of_the_answer() -> None:
    async with Client(answer("One.")) as client:

        async def hurried() -> bool:
            await client.session.append_audio(SECOND)
            return not client.stages.stt.opened[0].idle[-1]

        assert not await hurried()
        client.hear(SpeechStarted("u", 0.1))
        await client.until(SpeechStarted)
        assert await hurried()
        client.hear(SpeechStopped("u", 0.9))
        await client.until(SpeechStopped)
        assert await hurried()
        client.hear(TranscriptCompleted("u", "Hello.", "en"))
        await client.until(AudioDelta)
        assert await hurried()
        await client.until(ResponseDone)
        assert not await hurried()


async def test_clearing_forgets_the_audio_and_listens_anew() -> None:
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        client.session.clear_audio()
        assert client.stages.stt.opened[0].cancelled
        await client.say("hi")
        started = await client.until(SpeechStarted)
        assert len(client.stages.stt.opened) == 2
        assert started.start_s == pytest.approx(1.1)  # one second of audio came before


async def test_failed_recognition_is_told_and_the_session_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.hearing.RELISTEN_WAIT_S", 0.0)
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        client.hear(UpstreamError("the speech-to-text service is not reachable"))
        failure = await client.until(Failure)
        assert "speech-to-text" in failure.error.message
        assert failure.item_id == ""
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


async def test_an_utterance_whose_transcript_fails_is_named() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9), UpstreamError("down"))
        spoken = await client.until(SpeechStopped)
        assert (await client.until(Failure)).item_id == spoken.item_id


async def test_audio_is_dropped_for_a_while_after_recognition_failed() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(UpstreamError("down"))
        await client.until(Failure)
        await client.session.append_audio(SECOND)
        assert len(client.stages.stt.opened) == 1


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


async def test_truncating_something_that_is_not_spoken_is_an_error() -> None:
    async with Client() as client:
        with pytest.raises(InvalidArgumentError):
            client.session.truncate("nothing", 1.0)


async def test_a_new_input_format_reopens_recognition_and_other_changes_do_not() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        await client.session.update(replace(client.session.config, instructions="be brief"))
        await client.until(SessionUpdated)
        assert not client.stages.stt.opened[0].cancelled
        await client.session.update(replace(client.session.config, language_code="de"))
        assert client.stages.stt.opened[0].cancelled


async def test_finishing_waits_for_the_answer_to_the_last_words() -> None:
    async with Client(answer("Hello.")) as client:
        await client.say("hi")
        finishing = asyncio.create_task(client.session.finish())
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        await finishing


async def test_interim_transcripts_pass() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.0), TranscriptUpdated("u", "he"), TranscriptUpdated("u", "hello"))
        assert (await client.until(TranscriptUpdated)).text == "he"
        assert (await client.until(TranscriptUpdated)).text == "hello"


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


async def test_a_client_that_cancels_gets_no_audio_that_waited() -> None:
    async with Client(answer(*(["A sentence of one second."] * 20))) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        await asyncio.sleep(0.1)  # more waits in the outbox
        client.session.cancel_response("")
        before = len(client.events)
        await client.until(ResponseDone)
        assert AudioDelta not in kinds_after(client, before)


# Functions

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
