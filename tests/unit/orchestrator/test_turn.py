"""One response, from the model's first token to the settled history."""

import pytest

from orchestrator.domain import AudioDelta, Failure, ResponseCreated, ResponseDone, ResponseStatus, TextDelta
from orchestrator.stages.language_model import SpeechSegment, ToolCallFailed
from services.common.turn_stages import STAGES, stage_seconds
from tests.support.turn_client import Client, done, run, stages_that_say


async def test_the_stages_of_a_turn_add_up_to_its_response_time() -> None:
    timings = done(await run(stages_that_say("One.", "Two."))).timings
    spent = stage_seconds(vars(timings))
    assert list(spent) == list(STAGES)[2:]  # nobody spoke
    assert sum(spent.values()) == pytest.approx(timings.first_audio)
    assert min(spent.values()) >= 0


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


async def test_text_comes_with_the_audio_that_says_it() -> None:
    events = await run(stages_that_say("One two three four.", "Five."))
    shown = [(event.text, event.offset_s) for event in events if isinstance(event, TextDelta)]
    assert shown == [("One two", 0.0), (" three four.", 0.5), (" Five.", 1.0)]
    kinds = [type(event) for event in events[1:7]]
    assert kinds == [TextDelta, AudioDelta, TextDelta, AudioDelta, TextDelta, AudioDelta]


async def test_text_that_is_never_said_comes_at_the_end() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].insert(-1, " *")
    events = await run(stages)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["One.", " *"]


async def test_text_only_calls_no_text_to_speech() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [step for step in stages.llm.scripts[0] if not isinstance(step, SpeechSegment)]
    end = done(await run(stages, text_only=True))
    assert stages.tts.begun == []
    assert end.timings.first_audio is None
    assert end.transcript == "One."


async def test_edge_12_a_call_that_cannot_be_made_is_told_and_the_response_goes_on() -> None:
    stages = stages_that_say("One.", "Two.")
    stages.llm.scripts[0].insert(-1, ToolCallFailed("get_weather", "the arguments are not valid JSON"))
    async with Client(stages) as client:
        await client.until(ResponseDone)
    (failure,) = [event for event in client.events if isinstance(event, Failure)]
    assert failure.error.message == "the model called a tool get_weather wrongly: the arguments are not valid JSON"
    assert done(client.events).status is ResponseStatus.COMPLETED
