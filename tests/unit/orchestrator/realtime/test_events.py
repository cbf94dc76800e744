"""The session's events in the protocol: what the integration tests cannot bring about at will."""

import json
from typing import Any

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ItemDeleted,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TranscriptCompleted,
    TranscriptUpdated,
    TurnTimings,
)
from orchestrator.realtime.server_events import ServerEvents
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UpstreamError
from tests.support.realtime import check_event

PCM = AudioFormat(Encoding.PCM_S16LE, 24_000)
SECOND = bytes(48_000)


def told(*events: ServerEvent) -> list[dict[str, Any]]:
    """What a client is told of these events, each held against OpenAI's own types."""
    server = ServerEvents("s", "c", extensions=False)
    written = [json.loads(text) for event in events for text in server.of(event)]
    for event in written:
        check_event(event)
    return written


def deltas(*transcripts: str, final: str) -> list[str]:
    heard = [TranscriptUpdated("u", text) for text in transcripts]
    events = told(SpeechStarted("u", 0.0), *heard, SpeechStopped("u", 2.0), TranscriptCompleted("u", final))
    assert events[-1]["transcript"] == final
    assert events[-1]["usage"] == {"type": "duration", "seconds": 2.0}
    return [event["delta"] for event in events if "delta" in event]


@pytest.mark.parametrize(
    ("transcripts", "final", "expected"),
    [
        (["What", "What time", "What time is"], "What time is it?", ["What", " time", " is it?"]),
        (["What tide", "What time is", "What time is it"], "What time is it?", ["What", " time is", " it?"]),
        (["I scream", "I scream"], "Ice cream.", ["I scream"]),
        ([], "Hello.", ["Hello."]),
        (["Hm"], "", []),
    ],
)
def test_a_delta_holds_what_two_interim_transcripts_agree_on(
    transcripts: list[str], final: str, expected: list[str]
) -> None:
    assert deltas(*transcripts, final=final) == expected


def test_speech_whose_transcript_fails_is_an_item_without_one() -> None:
    events = told(SpeechStarted("u", 0.0), SpeechStopped("u", 1.0), Failure(UpstreamError("is down"), item_id="u"))
    assert events[-1]["type"] == "conversation.item.input_audio_transcription.failed"
    assert events[-1]["error"]["code"] == "upstream_error"


def test_a_response_that_fails_says_why() -> None:
    done = ResponseDone("r", ResponseStatus.FAILED, "", TurnTimings())
    events = told(ResponseCreated("r", "i", PCM), Failure(UpstreamError("is down")), done)
    assert events[-1]["response"]["status_details"]["error"]["message"] == "is down"
    assert events[-2]["error"]["message"] == "is down"
    assert events[-1]["response"]["output"] == []


def test_a_function_is_an_item_beside_what_is_said() -> None:
    call = chat_pb2.ToolCall(id="c", name="get_time", arguments_json='{"zone": "utc"}')
    events = told(
        ResponseCreated("r", "i", PCM),
        TextDelta("r", "i", "One moment.", 0.0),
        AudioDelta("r", "i", SECOND, 0.0),
        FunctionCall("r", call),
        AudioDelta("r", "i", SECOND, 1.0),
        ResponseDone("r", ResponseStatus.COMPLETED, "One moment.", TurnTimings()),
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert (output[1]["call_id"], output[1]["arguments"]) == ("c", '{"zone": "utc"}')
    audio = [event for event in events if event["type"] == "response.output_audio.delta"]
    assert {(event["item_id"], event["output_index"]) for event in audio} == {("i", 0)}


def test_what_is_played_is_counted_from_the_item_that_the_client_plays() -> None:
    server = ServerEvents("s", "c", extensions=False)
    for event in (
        ResponseCreated("r", "i", PCM),
        AudioDelta("r", "i", SECOND, 0.0),
        SpeechStarted("u", 0.0),
        AudioDelta("r", "i", SECOND, 0.25),
    ):
        server.of(event)
    assert server.responses.played("i") is None, "the client has cut it off"
    assert server.responses.played("i_2") == ("i", 0.25, 1.25)


def test_what_is_said_of_a_response_that_has_ended_is_dropped() -> None:
    done = ResponseDone("r", ResponseStatus.CANCELLED, "", TurnTimings())
    assert told(ResponseCreated("r", "i", PCM), done, AudioDelta("r", "i", SECOND, 0.0))[-1]["type"] == "response.done"


def test_what_the_session_deletes_as_one_are_several_items() -> None:
    call = chat_pb2.ToolCall(id="c", name="get_time", arguments_json="{}")
    events = told(
        SpeechStopped("u", 1.0),
        ResponseCreated("r", "i", PCM),
        AudioDelta("r", "i", SECOND, 0.0),
        SpeechStarted("u", 1.0),
        AudioDelta("r", "i", SECOND, 1.0),
        FunctionCall("r", call),
        ResponseDone("r", ResponseStatus.COMPLETED, "", TurnTimings()),
        ItemDeleted("i"),
        ItemDeleted("c"),
        ItemDeleted("of an earlier session"),
        SpeechStopped("v", 3.0),
    )
    deleted = [event["item_id"] for event in events if event["type"] == "conversation.item.deleted"]
    assert deleted == ["i", "i_2", "item_c", "of an earlier session"]
    assert events[-1]["previous_item_id"] == "u"
