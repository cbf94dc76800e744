"""Recognition in a live session: when it is opened, lost and opened again, and what the client hears of it."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.domain import (
    AudioDelta,
    Failure,
    ResponseDone,
    ResponseStatus,
    SessionConfig,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
    TurnDetection,
)
from services.common.errors import InvalidArgumentError, UnreachableError, UpstreamError
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import ScriptedListening, answer

SPEECH, MORE = b"\1\0" * 16_000, b"\2\0" * 16_000
"""A second each."""
LOST = UnreachableError("the speech-to-text service is not reachable")


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
        client.hear(InvalidArgumentError("no", field="session.language_code"))
        failure = await client.until(Failure)
        assert failure.error.field == "session.language_code"
        assert failure.item_id == ""
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED


async def test_what_is_said_while_recognition_is_lost_is_heard_by_another_and_nothing_is_told_twice() -> None:
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SECOND)
        await client.session.append_audio(SPEECH)
        client.hear(SpeechStarted("u", 1.1), LOST)
        started = await client.until(SpeechStarted)
        await client.session.append_audio(MORE)
        assert b"".join(client.stages.stt.opened[1].sent) == SPEECH + MORE
        client.hear(SpeechStarted("v", 0.1), SpeechStopped("v", 1.9), TranscriptCompleted("v", "hi", "en"))
        stopped, completed = await client.until(SpeechStopped), await client.until(TranscriptCompleted)
        assert started.item_id == stopped.item_id == completed.item_id
        assert stopped.end_s == pytest.approx(2.9)
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        assert client.kinds().count("SpeechStarted") == 1
        assert "Failure" not in client.kinds()


async def test_what_was_transcribed_is_not_heard_again() -> None:
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SPEECH)
        client.hear(SpeechStarted("u", 0.0), SpeechStopped("u", 0.5), TranscriptCompleted("u", "hi", "en"))
        await client.until(ResponseDone)
        await client.session.append_audio(MORE)
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("w", 2.1), LOST)
        await client.until(SpeechStarted)
        await client.session.append_audio(SECOND)
        sent = b"".join(client.stages.stt.opened[1].sent)
        assert sent.endswith(SECOND + SECOND)
        assert SPEECH[-16_000:] not in sent, "the second before the utterance begins with what is known"


async def test_a_turn_that_the_client_has_ended_is_ended_again() -> None:
    config = SessionConfig(turn_detection=TurnDetection(manual=True))
    async with Client(answer("Hello."), config=config) as client:
        await client.session.append_audio(SPEECH)
        await client.session.commit_audio()
        client.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9), LOST)
        await client.until(SpeechStopped)
        while len(client.stages.stt.opened) < 2 or not client.stages.stt.opened[1].sent:
            await asyncio.sleep(0.01)
        assert client.stages.stt.opened[1].sent == [SPEECH, b""]
        client.hear(SpeechStarted("v", 0.1), SpeechStopped("v", 0.9), TranscriptCompleted("v", "hi", "en"))
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        assert client.kinds().count("SpeechStopped") == 1


async def test_recognition_that_is_lost_again_is_told() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.1), LOST)
        started = await client.until(SpeechStarted)
        while len(client.stages.stt.opened) < 2:
            await asyncio.sleep(0.01)
        client.hear(SpeechStarted("v", 0.1), LOST)
        failure = await client.until(Failure)
        assert failure.error is LOST
        assert failure.item_id == started.item_id


async def test_recognition_that_is_lost_while_nobody_speaks_is_opened_again_without_a_word() -> None:
    async with Client(answer("Hello.")) as client:
        for _ in range(3):
            await client.session.append_audio(SECOND)
            await asyncio.sleep(1.0)
            client.hear(LOST)
            await asyncio.sleep(0.01)
        assert len(client.stages.stt.opened) == 4
        await client.say("hi")
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        assert "Failure" not in client.kinds()


async def test_the_last_words_of_a_client_that_sends_nothing_more_are_heard_again_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished: list[ScriptedListening] = []

    async def finish(self: ScriptedListening) -> None:
        finished.append(self)

    monkeypatch.setattr(ScriptedListening, "finish", finish)
    async with Client(answer("Hello.")) as client:
        await client.session.append_audio(SPEECH)
        client.hear(SpeechStarted("u", 0.1))
        await client.until(SpeechStarted)
        finishing = asyncio.create_task(client.session.finish())
        await asyncio.sleep(0.01)
        client.hear(LOST)
        while len(finished) < 2:
            await asyncio.sleep(0.01)
        assert finished == client.stages.stt.opened
        client.hear(SpeechStarted("v", 0.1), SpeechStopped("v", 0.9), TranscriptCompleted("v", "hi", "en"), None)
        assert (await client.until(ResponseDone)).status is ResponseStatus.COMPLETED
        await finishing


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


async def test_a_new_input_format_reopens_recognition_and_other_changes_do_not() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        await client.session.update(replace(client.session.config, instructions="be brief"))
        await client.until(SessionUpdated)
        assert not client.stages.stt.opened[0].cancelled
        await client.session.update(replace(client.session.config, language_code="de"))
        assert client.stages.stt.opened[0].cancelled


async def test_interim_transcripts_pass() -> None:
    async with Client() as client:
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("u", 0.0), TranscriptUpdated("u", "he"), TranscriptUpdated("u", "hello"))
        assert (await client.until(TranscriptUpdated)).text == "he"
        assert (await client.until(TranscriptUpdated)).text == "hello"
