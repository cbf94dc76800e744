"""When the speech of a response is synthesized and sent, and how long anything is waited for."""

import asyncio
from collections import deque

import pytest

from orchestrator.domain import AudioDelta, ResponseDone, ResponseStatus
from orchestrator.speech import together
from orchestrator.stages.language_model import SpeechSegment
from tests.support.scripted_stages import ScriptedTts
from tests.support.turn_client import Client, done, failures, run, stages_that_say


async def test_the_next_segment_is_synthesized_when_the_audio_of_the_first_is_there() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One.", "Two.", "Three.", tts=ScriptedTts(gate=gate))
    async with Client(stages) as client:
        await client.until(AudioDelta)
        assert stages.llm.closed == 1
        assert [synthesis.text for synthesis in stages.tts.begun] == ["One."]
        gate.set()
        await client.until(ResponseDone)
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two. Three."]


@pytest.mark.parametrize(
    ("character_s", "spoken"),
    [
        (0.001, ["One.", "Two. Three. Four. Five."]),  # at once, however much it is
        (0.04, ["One.", "Two. Three.", "Four. Five."]),  # half of the second that is left is enough for 12 characters
        (0.2, ["One.", "Two.", "Three.", "Four.", "Five."]),
    ],
)
async def test_what_waits_is_spoken_in_one_piece_where_so_much_audio_is_left_to_play(
    character_s: float, spoken: list[str]
) -> None:
    tts = ScriptedTts(character_s=character_s)
    client = Client(stages_that_say("One.", "Two.", "Three.", "Four.", "Five.", tts=tts))
    end = done(await client.run())
    assert [synthesis.text for synthesis in tts.begun] == spoken
    assert end.transcript == "One. Two. Three. Four. Five."
    assert [event.offset_s for event in client.audio()] == [number / 2 for number in range(10)]


async def test_of_what_was_spoken_in_one_piece_the_history_keeps_what_was_heard() -> None:
    tts = ScriptedTts(character_s=0.001)
    async with Client(stages_that_say("One.", "Two.", "Three.", "Four.", tts=tts)) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(2.3)
        client.turn.cancel()
    assert [synthesis.text for synthesis in tts.begun] == ["One.", "Two. Three. Four."]
    assert done(client.events).transcript == "One. Two."


async def test_a_client_that_takes_audio_as_it_comes_gets_each_segment_at_once() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    await run(stages, paced=False)
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two.", "Three."]


def test_a_piece_is_in_one_language_and_not_longer_than_there_is_room_for() -> None:
    waiting = deque([SpeechSegment("Eins.", "de"), SpeechSegment("Zwei.", "de"), SpeechSegment("Three.", "en")])
    assert together(deque(waiting), 10) == SpeechSegment("Eins.", "de")
    assert together(deque(waiting), 11) == SpeechSegment("Eins. Zwei.", "de")
    assert together(waiting, 100) == SpeechSegment("Eins. Zwei.", "de")
    assert together(waiting, 0) == SpeechSegment("Three.", "en")
    assert not waiting


async def test_audio_is_at_most_two_seconds_ahead_of_playback() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 10)))
    await client.run()
    ahead = [
        event.offset_s + 0.5 - at
        for event, at in zip(client.events, client.at, strict=True)
        if isinstance(event, AudioDelta)
    ]
    assert max(ahead) == pytest.approx(2.0 + 0.5, abs=0.2)  # a chunk is half a second
    assert len(client.audio()) == 20


async def test_a_client_that_only_reads_is_not_made_to_wait() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 10)), paced=False)
    await client.run()
    assert client.at[-1] < 0.1


async def test_the_end_comes_when_all_has_been_played() -> None:
    client = Client(stages_that_say("One."))
    await client.run()
    assert client.at[-1] == pytest.approx(1.0, abs=0.01)


async def test_a_client_that_takes_nothing_stops_the_synthesis() -> None:
    stages = stages_that_say(*(["A sentence of one second."] * 10))
    client = Client(stages)
    running = asyncio.create_task(client.turn.run())
    await asyncio.sleep(30)
    assert stages.tts.spoken <= 5
    client.turn.cancel()
    await running


async def test_an_answer_may_take_longer_than_the_timeout_as_long_as_it_goes_on() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 90)))
    assert done(await client.run()).status is ResponseStatus.COMPLETED
    assert client.at[-1] == pytest.approx(90, abs=0.5)


async def test_an_answer_that_stalls_fails_and_names_who_stalls() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].insert(1, asyncio.Event())
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert failures(events) == ["the language model service did not go on in time"]
    assert stages.llm.closed == 1


async def test_speech_that_stalls_fails_the_answer_and_names_who_stalls() -> None:
    stages = stages_that_say("One.", tts=ScriptedTts(gate=asyncio.Event()))
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert failures(events) == ["the text-to-speech service did not go on in time"]
