"""A response that fails: what the client is told, what is said, and what is kept."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.apology import Apology
from orchestrator.domain import AudioDelta, Failure, ResponseStatus, SessionConfig, TextDelta
from orchestrator.stages.language_model import GenerationStarted
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UpstreamError
from tests.support.scripted_stages import ScriptedTts
from tests.support.turn_client import Client, done, failures, run, stages_that_say


async def test_a_failing_language_model_fails_the_response_and_says_why_first() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [GenerationStarted("held"), UpstreamError("the language model service is not reachable")]
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert isinstance(events[-2], Failure)
    assert "language model" in events[-2].error.message


async def test_a_failing_text_to_speech_stops_the_language_model() -> None:
    tts = ScriptedTts(error=UpstreamError("the text-to-speech service is not reachable"))
    stages = stages_that_say("One.", tts=tts)
    stages.llm.scripts[0].insert(-1, asyncio.Event())
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert stages.llm.closed == 1


@contextlib.asynccontextmanager
async def apologizing(tts: ScriptedTts | None = None) -> AsyncIterator[Apology]:
    apology = Apology("Sorry.")
    preparing = asyncio.create_task(apology.prepare(tts or ScriptedTts()))  # type: ignore[arg-type]
    try:
        await asyncio.sleep(1)
        yield apology
    finally:
        preparing.cancel()


async def test_a_failure_is_apologised_for_after_what_was_said_and_leaves_no_trace_in_the_history() -> None:
    stages = stages_that_say("One two.")
    stages.llm.scripts[0].insert(-1, UpstreamError("the language model service is not reachable"))
    async with apologizing() as apology:
        client = Client(stages, apology=apology)
        events = await client.run()
    end = done(events)
    assert end.status is ResponseStatus.FAILED
    assert [type(event) for event in events if isinstance(event, Failure)] == [Failure]
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert texts[-1] == "Sorry."
    failed = next(number for number, event in enumerate(events) if isinstance(event, Failure))
    said = [event for event in events[failed:] if isinstance(event, AudioDelta)]
    assert sum(len(event.audio) for event in said) == 48_000
    assert "Sorry" not in (stages.llm.commits[0][2] or "")
    assert client.at[-1] >= 1.0  # it has been played


async def test_an_apology_comes_in_the_format_of_the_session() -> None:
    tts = ScriptedTts()
    telephone = AudioFormat(Encoding.MULAW, 8000)
    async with apologizing(tts) as apology:
        assert not list(apology.audio(telephone))
        apology.want(telephone)
        await asyncio.sleep(1)
        assert b"".join(apology.audio(telephone))
        apology.want(telephone)
        await asyncio.sleep(1)
        assert len(tts.begun) == 2  # each format once


async def test_the_formats_that_were_used_last_are_those_whose_apology_is_kept() -> None:
    async with apologizing() as apology:
        rates = [8000 + 1000 * step for step in range(9)]
        for rate in rates:
            apology.want(AudioFormat(Encoding.PCM_S16LE, rate))
            await asyncio.sleep(1)
        kept = [rate for rate in rates if list(apology.audio(AudioFormat(Encoding.PCM_S16LE, rate)))]
        assert kept == rates[1:]


async def test_nothing_is_said_before_the_apology_could_be_synthesized() -> None:
    tts = ScriptedTts(error=UpstreamError("not reachable"))
    async with apologizing(tts) as apology:
        await asyncio.sleep(10)
        assert list(apology.audio(SessionConfig().output_format)) == []
        tts.error = None
        await asyncio.sleep(10)
        assert list(apology.audio(SessionConfig().output_format))


async def test_an_answer_that_ends_without_its_end_is_a_failure() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].pop()
    assert done(await run(stages)).status is ResponseStatus.FAILED


async def test_a_defect_in_a_stage_fails_the_response_without_telling_internals() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts.clear()  # an IndexError inside the stage
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    failure = events[-2]
    assert isinstance(failure, Failure)
    assert "deque" not in failure.error.message


@pytest.mark.parametrize("written", ["🎉 😀", "…"])
async def test_an_answer_without_a_word_to_say_is_no_silence_but_an_error(written: str) -> None:
    stages = stages_that_say()
    stages.llm.scripts[0].insert(1, written)  # the language model service makes no segment of it
    events = await run(stages)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == written
    assert failures(events) == ["the model's answer has nothing that can be spoken"]
    assert done(events).status is ResponseStatus.FAILED


async def test_an_answer_without_a_word_to_say_may_be_read_or_be_a_call() -> None:
    stages = stages_that_say()
    stages.llm.scripts[0].insert(1, "🎉")
    assert done(await run(stages, text_only=True)).status is ResponseStatus.COMPLETED
    stages = stages_that_say()
    stages.llm.scripts[0][1:1] = ["🎉", chat_pb2.ToolCall(id="c", name="ring")]
    assert done(await run(stages)).status is ResponseStatus.COMPLETED
