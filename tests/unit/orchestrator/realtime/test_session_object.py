"""The session object of the protocol."""

from typing import Any

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.realtime.models import merged, parse
from orchestrator.realtime.session_config import response_config, session_config
from orchestrator.realtime.session_object import ResponseParameters, Session
from services.common.audio_format import AudioFormat, Encoding

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def session(**fields: Any) -> Session:
    return parse(Session, {"type": "realtime", **fields})


def test_what_an_update_does_not_set_stays() -> None:
    first = session(instructions="Rhyme.", audio={"output": {"voice": "heart"}}, tools=[TOOL])
    second = merged(first, session(audio={"input": {"format": {"type": "audio/pcmu"}}}))
    config = session_config(second)
    assert (config.instructions, config.voice) == ("Rhyme.", "heart")
    assert config.input_format == AudioFormat(Encoding.MULAW, 8_000)
    assert config.output_format == AudioFormat(Encoding.PCM_S16LE, 24_000)
    assert config.tool_choice == chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_AUTO)


def test_null_ends_turn_detection_and_an_object_brings_it_back() -> None:
    manual = merged(session(), session(audio={"input": {"turn_detection": None}}))
    detection = session_config(manual).turn_detection
    assert (detection.manual, detection.create_response) == (True, False)
    again = merged(manual, session(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}))
    detection = session_config(again).turn_detection
    assert (detection.manual, detection.create_response) == (False, True)
    assert detection.endpointing is not None
    assert detection.endpointing.end_silence.ToMilliseconds() == 1000


def test_a_silence_that_is_named_holds_whatever_is_said() -> None:
    vad = {"type": "server_vad", "silence_duration_ms": 700, "threshold": 0.5, "interrupt_response": False}
    detection = session_config(session(audio={"input": {"turn_detection": vad}})).turn_detection
    assert detection.endpointing is not None
    assert detection.endpointing.end_silence.ToMilliseconds() == 700
    assert not detection.endpointing.HasField("min_end_silence")
    assert not detection.interrupt_response


def test_a_response_differs_from_its_session_in_what_it_sets() -> None:
    wanted = parse(
        ResponseParameters, {"instructions": "Shout.", "output_modalities": ["text"], "max_output_tokens": 9}
    )
    config = response_config(wanted, session(instructions="Rhyme.", audio={"output": {"voice": "heart"}}))
    assert (config.instructions, config.text_only, config.voice) == ("Shout.", True, "heart")
    assert config.sampling == chat_pb2.SamplingOptions(max_output_tokens=9)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "f"}])
def test_a_function_can_be_required(choice: Any) -> None:
    config = session_config(session(tools=[TOOL], tool_choice=choice))
    required = chat_pb2.ToolChoice(mode=chat_pb2.ToolChoice.MODE_REQUIRED)
    assert config.tool_choice == (required if choice == "required" else chat_pb2.ToolChoice(tool_name="f"))
