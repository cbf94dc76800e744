"""One response, from the model's first token to the settled history."""

import asyncio
import time
from typing import Any

from orchestrator.domain import (
    AudioDelta,
    Failure,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    TextDelta,
)
from orchestrator.outbox import Outbox
from orchestrator.stages.language_model import GenerationStarted, Prompt, SpeechSegment
from orchestrator.turn import Heard, Turn
from services.common.errors import UpstreamError
from tests.support.scripted_stages import ScriptedLlm, ScriptedStages, ScriptedTts, answer


def make_turn(stages: Any, outbox: Outbox, *, text_only: bool = False, conversation: str = "c") -> Turn:
    config = SessionConfig(text_only=text_only)
    return Turn(stages, config, outbox, "r", Prompt((), conversation), Heard(time.monotonic()), timeout_s=60.0)


async def events_of(outbox: Outbox) -> list[ServerEvent]:
    outbox.close()
    return [event async for event in outbox]


async def run(stages: Any, **options: Any) -> list[ServerEvent]:
    outbox = Outbox()
    await make_turn(stages, outbox, **options).run()
    return await events_of(outbox)


def done(events: list[ServerEvent]) -> ResponseDone:
    ends = [event for event in events if isinstance(event, ResponseDone)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]


def stages_that_say(*sentences: str, tts: ScriptedTts | None = None, **options: Any) -> ScriptedStages:
    llm = ScriptedLlm()
    llm.scripts.append(answer(*sentences, **options))
    return ScriptedStages(llm=llm, tts=tts or ScriptedTts())


async def test_audio_of_all_segments_comes_in_order_with_offsets_that_add_up() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    events = await run(stages)
    assert isinstance(events[0], ResponseCreated)
    offsets = [event.offset_s for event in events if isinstance(event, AudioDelta)]
    assert offsets == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two.", "Three."]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "One. Two. Three."


async def test_a_whole_response_is_committed_whole_and_says_so() -> None:
    stages = stages_that_say("One.", "Two.")
    end = done(await run(stages))
    assert end.status is ResponseStatus.COMPLETED
    assert end.transcript == "One. Two."
    assert end.usage is not None
    assert stages.llm.commits == [("c", "held", None)]
    spans = [end.timings.first_token, end.timings.first_segment, end.timings.first_audio, end.timings.total]
    assert None not in spans
    assert spans == sorted(spans)  # type: ignore[type-var]


async def test_a_response_cut_by_a_limit_is_incomplete() -> None:
    assert done(await run(stages_that_say("One", cut_short=True))).status is ResponseStatus.INCOMPLETE


async def test_without_a_conversation_nothing_is_committed() -> None:
    stages = stages_that_say("One.")
    await run(stages, conversation="")
    assert stages.llm.commits == []


async def test_text_only_calls_no_text_to_speech() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [step for step in stages.llm.scripts[0] if not isinstance(step, SpeechSegment)]
    end = done(await run(stages, text_only=True))
    assert stages.tts.begun == []
    assert end.timings.first_audio is None
    assert end.transcript == "One."


async def test_the_next_segment_is_synthesized_while_the_first_is_spoken_but_no_more() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One.", "Two.", "Three.", tts=ScriptedTts(gate=gate))
    outbox = Outbox()
    running = asyncio.create_task(make_turn(stages, outbox).run())
    while stages.llm.closed == 0:
        await asyncio.sleep(0)
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two."]
    gate.set()
    await running
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two.", "Three."]


async def test_cancelling_stops_both_stages_and_commits_what_was_heard() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One two three four.", "Five.", tts=ScriptedTts(gate=gate))
    stages.llm.scripts[0].insert(-1, asyncio.Event())  # the model would write on
    outbox = Outbox()
    turn = make_turn(stages, outbox)
    running = asyncio.create_task(turn.run())
    async for event in outbox:
        if isinstance(event, AudioDelta):
            break
    turn.truncate(0.5)
    turn.cancel()
    await running
    end = done(await events_of(outbox))
    assert end.status is ResponseStatus.CANCELLED
    assert end.transcript == "One two"
    assert stages.llm.commits == [("c", "held", end.transcript)]
    assert stages.llm.closed == 1
    assert all(synthesis.cancelled for synthesis in stages.tts.begun)


async def test_cancelling_before_anything_was_heard_commits_nothing_heard() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [GenerationStarted("held"), asyncio.Event()]
    outbox = Outbox()
    turn = make_turn(stages, outbox)
    running = asyncio.create_task(turn.run())
    while not stages.llm.prompts:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    turn.cancel()
    turn.cancel()
    await running
    end = done(await events_of(outbox))
    assert (end.status, end.transcript) == (ResponseStatus.CANCELLED, "")
    assert stages.llm.commits == [("c", "held", "")]


async def test_cancelling_before_the_task_ran_still_ends_with_one_done() -> None:
    stages = stages_that_say("One.")
    outbox = Outbox()
    turn = make_turn(stages, outbox)
    turn.cancel()
    await turn.run()
    assert done(await events_of(outbox)).status is ResponseStatus.CANCELLED


async def test_no_audio_follows_a_cancel() -> None:
    stages = stages_that_say("One.", "Two.")
    stages.llm.scripts[0].insert(-1, asyncio.Event())
    outbox = Outbox()
    turn = make_turn(stages, outbox)
    running = asyncio.create_task(turn.run())
    while len(stages.tts.begun) < 2:
        await asyncio.sleep(0)
    turn.cancel()
    await running
    assert not [event for event in await events_of(outbox) if isinstance(event, AudioDelta)]


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
