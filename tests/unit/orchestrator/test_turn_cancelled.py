"""A response that is cut, held or discarded: what stops, and what the history keeps."""

import asyncio

import pytest
from parley.common.v1 import chat_pb2

from orchestrator import clock
from orchestrator.domain import AudioDelta, FunctionCall, ResponseCreated, ResponseStatus
from orchestrator.stages.language_model import GenerationStarted
from orchestrator.turn import Heard
from services.common.errors import UpstreamError
from tests.support.scripted_stages import ScriptedTts
from tests.support.turn_client import Client, done, stages_that_say


async def test_cancelling_stops_both_stages_and_commits_what_was_heard() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One two three four.", "Five.", tts=ScriptedTts(gate=gate))
    stages.llm.scripts[0].insert(-1, asyncio.Event())  # the model would write on
    async with Client(stages) as client:
        await client.until(AudioDelta)
        gate.set()
        await asyncio.sleep(0.5)
        client.turn.cancel()
    end = done(client.events)
    assert end.status is ResponseStatus.CANCELLED
    assert end.transcript == "One two"
    assert stages.llm.commits == [("c", "held", end.transcript)]
    assert stages.llm.closed == 1


async def test_cancelling_stops_a_synthesis() -> None:
    stages = stages_that_say("One two three four.", tts=ScriptedTts(gate=asyncio.Event()))
    async with Client(stages) as client:
        await client.until(AudioDelta)
        client.turn.cancel()
    assert stages.tts.begun[0].cancelled


async def test_the_client_knows_better_what_was_heard() -> None:
    async with Client(stages_that_say("One two three four.")) as client:
        await client.until(AudioDelta)
        client.turn.truncate(0.25)
        await asyncio.sleep(0.9)
        client.turn.cancel()
    assert done(client.events).transcript == "One"


async def test_cancelling_before_anything_was_heard_commits_nothing_heard() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [GenerationStarted("held"), asyncio.Event()]
    async with Client(stages) as client:
        await asyncio.sleep(0.1)
        client.turn.cancel()
        client.turn.cancel()
    end = done(client.events)
    assert (end.status, end.transcript) == (ResponseStatus.CANCELLED, "")
    assert stages.llm.commits == [("c", "held", "")]


async def test_cancelling_before_the_task_ran_still_ends_with_one_done() -> None:
    client = Client(stages_that_say("One."))
    client.turn.cancel()
    assert done(await client.run()).status is ResponseStatus.CANCELLED


async def test_no_audio_follows_a_cancel() -> None:
    stages = stages_that_say("One.", "Two.", "Three.", "Four.")
    async with Client(stages) as client:
        await client.until(AudioDelta)
        client.turn.cancel()
        before = len(client.audio())
    assert len(client.audio()) == before


async def test_a_held_response_goes_on_from_where_the_client_stopped() -> None:
    async with Client(stages_that_say("One two three four.", "Five.")) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(0.7)
        client.turn.output.hold()
        before = len(client.audio())
        await asyncio.sleep(10)
        assert len(client.audio()) == before
        client.turn.output.resume()
        await asyncio.sleep(0.001)
        assert client.audio()[before].offset_s == pytest.approx(0.7, abs=0.01)
    end = done(client.events)
    assert end.status is ResponseStatus.COMPLETED
    assert client.at[-1] == pytest.approx(12.0, abs=0.01)
    again = b"".join(event.audio for event in client.audio()[before:])
    assert len(again) == pytest.approx(1.3 * 48_000, abs=0.01 * 48_000)


async def test_a_response_cut_while_it_is_held_was_heard_up_to_there() -> None:
    async with Client(stages_that_say("One two three four.", "Five.")) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(0.5)
        client.turn.output.hold()
        await asyncio.sleep(5)
        client.turn.cancel()
    assert done(client.events).transcript == "One two"


async def test_nothing_of_a_speculation_is_sent_before_it_is_confirmed() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    call = chat_pb2.ToolCall(id="call_1", name="tool")
    stages.llm.scripts[0].insert(-1, call)
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(10)
        assert client.events == []
        assert [synthesis.text for synthesis in stages.tts.begun] == ["One."]
        client.turn.confirm(Heard(clock.now() - 0.5, endpointing=0.4, final_transcript=0.5))
        await asyncio.sleep(0.001)
        assert isinstance(client.events[0], ResponseCreated)
        assert any(isinstance(event, FunctionCall) for event in client.events)
        assert client.audio()[0].offset_s == 0.0
    end = done(client.events)
    assert end.status is ResponseStatus.COMPLETED
    assert end.timings.first_audio == pytest.approx(0.5, abs=0.01)
    assert end.timings.endpointing == 0.4
    assert stages.llm.commits == [("c", "held", None)]


async def test_a_discarded_speculation_leaves_no_trace() -> None:
    stages = stages_that_say("One.", "Two.")
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        client.turn.discard()
    assert client.events == []
    assert stages.llm.discards == ["held"]
    assert stages.llm.commits == []


async def test_a_speculation_that_is_discarded_early_stops_both_stages() -> None:
    stages = stages_that_say("One.", tts=ScriptedTts(gate=asyncio.Event()))
    stages.llm.scripts[0].insert(-1, asyncio.Event())
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        client.turn.discard()
    assert stages.llm.closed == 1
    assert stages.tts.begun[0].cancelled


async def test_a_speculation_that_fails_says_so_only_once_it_is_confirmed() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [UpstreamError("the language model service is not reachable")]
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        assert client.events == []
        client.turn.confirm(Heard(clock.now()))
    assert done(client.events).status is ResponseStatus.FAILED
