"""What a live stream measures, and its trace."""

import pytest

from services.common import tracing
from services.stt.domain import SpeechStarted
from tests.support.listening import FORCE, INTERIM, Stream, listen, texts
from tests.support.spans import recorded
from tests.support.stt_doubles import ScriptedEngine, pcm16, silence, speech


def counts(stream: Stream) -> dict[str, float | None]:
    names = ("endpointing_delay", "finalization_delay", "time_to_first_interim")
    return {name: stream.registry.get_sample_value(f"parley_stt_{name}_seconds_count") for name in names}


async def test_how_soon_an_utterance_was_known_is_measured_once() -> None:
    stream = Stream(ScriptedEngine(), INTERIM)
    stream.send(pcm16(silence(1), speech(2), silence(2)), None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 1, "finalization_delay": 1, "time_to_first_interim": 1}
    assert stream.registry.get_sample_value("parley_stt_audio_seconds_total") == pytest.approx(5.0)
    finals = {"kind": "final"}
    assert stream.registry.get_sample_value("parley_stt_real_time_factor_count", finals) == 1


async def test_where_the_client_ends_the_utterance_there_is_no_endpointing_delay() -> None:
    stream = Stream(ScriptedEngine(), manual_end=True)
    stream.send(pcm16(silence(1), speech(2)), FORCE, None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 0, "finalization_delay": 1, "time_to_first_interim": 0}


async def test_silence_is_no_utterance_to_measure() -> None:
    stream = Stream(ScriptedEngine())
    stream.send(pcm16(silence(3)), FORCE, None)
    _ = [event async for event in stream.events]
    assert counts(stream) == {"endpointing_delay": 0, "finalization_delay": 0, "time_to_first_interim": 0}


async def test_an_utterance_is_a_part_of_the_turn_s_trace_and_tells_its_text_only_where_that_is_asked_for() -> None:
    for content in (False, True):
        with recorded(content=content) as spans:
            with tracing.begin("call"):
                said = await listen(ScriptedEngine(), pcm16(silence(1), speech(2), silence(1)))
            turn = tracing.of_utterance(next(event.utterance_id for event in said if isinstance(event, SpeechStarted)))
        recognized, utterance, _ = spans
        assert utterance.parent == turn
        assert recognized.parent == utterance.context
        assert recognized.attributes["gen_ai.operation.name"] == "speech_to_text"
        assert recognized.attributes["gen_ai.request.model"] == "scripted"
        assert [name for name, _ in utterance.events] == ["end of speech", "turn ended"]
        assert utterance.attributes.get("parley.stt.transcript") == (texts(said)[0] if content else None)
