"""What a live session counts beside its turns: answers begun at a pause, and voices that held an answer."""

import asyncio

import pytest

from orchestrator.domain import (
    AudioDelta,
    ResponseDone,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
)
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer

PAUSE_S = 0.5


async def pause(client: Client) -> None:
    """The user stops after "good morning", so long that it may be the end."""
    await client.session.append_audio(SECOND)
    words = TranscriptUpdated("u", "good morning", "en", at_pause=True)
    client.hear(SpeechStarted("u", 0.1), SpeechPaused("u", 0.8), words)
    await asyncio.sleep(PAUSE_S)


def value(client: Client, name: str, **labels: str) -> float | None:
    return client.registry.get_sample_value(f"parley_{name}", labels)


@pytest.mark.parametrize(
    ("character_s", "saved_s"),
    [
        (0.05, 0.3),  # the audio is ready before the words are final: all of its time is saved
        (0.2, PAUSE_S),  # it is still being made: no more than the wait for the end is saved
    ],
)
async def test_what_an_answer_that_was_begun_at_a_pause_saves(character_s: float, saved_s: float) -> None:
    client = Client(answer("Hello."))
    client.stages.tts.character_s = character_s
    async with client:
        await pause(client)
        client.hear(SpeechStopped("u", 0.8), TranscriptCompleted("u", "Good morning.", "en"))
        await client.until(ResponseDone)
        assert value(client, "speculations_total", outcome="confirmed") == 1
        assert value(client, "speculation_saved_seconds_total") == pytest.approx(saved_s, abs=0.01)
        assert value(client, "speculations_total", outcome="discarded") == 0
        assert value(client, "speculation_wasted_characters_total") == 0


async def test_what_was_written_and_spoken_for_other_words_is_wasted() -> None:
    async with Client(answer("Hello."), answer("Bye.")) as client:
        await pause(client)
        client.hear(SpeechStopped("u", 0.8), TranscriptCompleted("u", "Good morning to all.", "en"))
        await client.until(ResponseDone)
        assert value(client, "speculations_total", outcome="discarded") == 1
        assert value(client, "speculation_wasted_characters_total") == len("Hello.")
        assert value(client, "speculation_wasted_audio_seconds_total") == pytest.approx(1.0)
        assert value(client, "speculations_total", outcome="confirmed") == 0
        assert value(client, "speculation_saved_seconds_total") == 0
        assert value(client, "turns_total", outcome="completed") == 1


@pytest.mark.parametrize(("words", "outcome", "other"), [("wait a moment", "real", "false"), ("", "false", "real")])
async def test_a_voice_that_holds_an_answer_is_counted_by_what_it_was(words: str, outcome: str, other: str) -> None:
    async with Client(answer(*(["A sentence of one second."] * 5)), answer("Yes?")) as client:
        await client.say("tell me")
        await client.until(AudioDelta)
        await client.session.append_audio(SECOND)
        client.hear(SpeechStarted("v", 1.5))
        await asyncio.sleep(0.25)
        client.hear(SpeechStopped("v", 1.9), TranscriptCompleted("v", words, "en"))
        await client.until(ResponseDone)
        assert value(client, "interruptions_total", outcome=outcome) == 1
        assert value(client, "interruptions_total", outcome=other) == 0
        assert value(client, "barge_in_stop_seconds_count") == 1
        assert value(client, "turns_total", outcome="failed") == 0
