"""A live session over scripted services."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.domain import (
    AudioDelta,
    Failure,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
    TurnDetection,
)
from orchestrator.live import LiveSession, user_message
from orchestrator.stages.language_model import GenerationStarted
from services.common.errors import InvalidArgumentError, UpstreamError
from tests.support.scripted_stages import ScriptedStages, answer

DEFAULT = SessionConfig()
SECOND = bytes(32_000)
"""One second of audio in the default input format."""


class Client:
    """The session's events as they come, and what the test does to it."""

    def __init__(self, *answers: list[Any], config: SessionConfig = DEFAULT) -> None:
        self.stages = ScriptedStages()
        self.stages.llm.scripts.extend(answers)
        self.session = LiveSession(self.stages, "s", config, 60.0)  # type: ignore[arg-type]
        self.events: list[ServerEvent] = []
        self._iterator = aiter(self.session.outbox)

    async def __aenter__(self) -> "Client":
        await self.session.open("")
        await self.until(SessionCreated)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.session.aclose()

    async def until(self, kind: type) -> Any:
        while True:
            event = await anext(self._iterator)
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
        assert client.stages.llm.prompts[0].messages == (user_message("hi"),)
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
        assert client.stages.llm.prompts[1].messages == (user_message("wait"),)


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
    monkeypatch.setattr("orchestrator.live.RELISTEN_WAIT_S", 0.0)
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        client.hear(UpstreamError("the speech-to-text service is not reachable"))
        failure = await client.until(Failure)
        assert "speech-to-text" in failure.error.message
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


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
