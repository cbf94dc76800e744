"""Server events as plain data."""

import pytest
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2, chat_pb2, error_reason_pb2
from parley_client import events
from parley_client.convert import duration, event_of, frame_bytes


def event(**fields: object) -> events.Event | None:
    return event_of(pb.ConverseResponse(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {
                "input_audio_buffer_speech_started": pb.InputAudioBufferSpeechStarted(
                    item_id="u", audio_start=duration(1.5)
                )
            },
            events.SpeechStarted("u", 1.5),
        ),
        (
            {
                "input_audio_buffer_speech_stopped": pb.InputAudioBufferSpeechStopped(
                    item_id="u", audio_end=duration(2.25)
                )
            },
            events.SpeechStopped("u", 2.25),
        ),
        (
            {
                "input_audio_buffer_speech_stopped": pb.InputAudioBufferSpeechStopped(
                    item_id="u", audio_end=duration(2.25), turn_end_probability=0.75
                )
            },
            events.SpeechStopped("u", 2.25, turn_end_probability=0.75),
        ),
        (
            {"input_audio_transcription_updated": pb.InputAudioTranscriptionUpdated(item_id="u", transcript="a")},
            events.InterimTranscript("u", "a"),
        ),
        (
            {
                "input_audio_transcription_completed": pb.InputAudioTranscriptionCompleted(
                    item_id="u", transcript="a b", language_code="en"
                )
            },
            events.FinalTranscript("u", "a b", "en"),
        ),
        ({"response_created": pb.ResponseCreated(response_id="r", item_id="i")}, events.ResponseStarted("r", "i")),
        (
            {"response_output_text_delta": pb.ResponseOutputTextDelta(response_id="r", delta="x", offset=duration(0))},
            events.TextDelta("r", "x", 0.0),
        ),
        (
            {"response_output_text_delta": pb.ResponseOutputTextDelta(response_id="r", delta="x")},
            events.TextDelta("r", "x"),
        ),
        (
            {"response_output_audio_delta": pb.ResponseOutputAudioDelta(response_id="r", item_id="i", audio=b"12")},
            events.AudioDelta("r", b"12", None, "i"),
        ),
        (
            {
                "response_function_call": pb.ResponseFunctionCall(
                    response_id="r", call=chat_pb2.ToolCall(id="c", name="add", arguments_json='{"a": 1}')
                )
            },
            events.FunctionCall("r", "c", "add", {"a": 1}),
        ),
        (
            {
                "error": pb.ErrorEvent(
                    client_event_id="e",
                    reason=error_reason_pb2.ERROR_REASON_OVERLOADED,
                    message="too many",
                    retry_delay=duration(1.5),
                )
            },
            events.TurnFailed("too many", "OVERLOADED", 1.5, "e"),
        ),
        ({"conversation_item_deleted": pb.ConversationItemDeleted(item_id="i")}, events.ItemDeleted("i")),
        ({"error": pb.ErrorEvent(message="x", reason=9999)}, events.TurnFailed("x")),  # type: ignore[arg-type]
        ({"session_updated": pb.SessionUpdated()}, None),
        ({}, None),
    ],
)
def test_each_event_has_its_plain_form(message: dict[str, object], expected: events.Event | None) -> None:
    assert event(**message) == expected


def test_timings_that_were_not_sent_are_none() -> None:
    done = pb.ResponseDone(
        response_id="r",
        status=pb.RESPONSE_STATUS_COMPLETED,
        transcript="hi",
        timings=pb.TurnTimings(endpointing=duration(0.5), total=duration(2)),
    )
    assert event(response_done=done) == events.ResponseEnded(
        "r", events.Outcome.COMPLETED, "hi", events.Timings(endpointing_s=0.5, total_s=2.0)
    )


def test_a_status_of_a_newer_server_counts_as_failed() -> None:
    ended = event(response_done=pb.ResponseDone(response_id="r", status=17))  # type: ignore[arg-type]
    assert ended == events.ResponseEnded("r", events.Outcome.FAILED, "", None)


@pytest.mark.parametrize(
    ("encoding", "channels", "expected"),
    [
        (audio_pb2.AUDIO_ENCODING_PCM_S16LE, 0, 2),
        (audio_pb2.AUDIO_ENCODING_PCM_F32LE, 2, 8),
        (audio_pb2.AUDIO_ENCODING_MULAW, 1, 1),
    ],
)
def test_bytes_of_a_sample_of_every_channel(
    encoding: audio_pb2.AudioEncoding.ValueType, channels: int, expected: int
) -> None:
    assert frame_bytes(audio_pb2.AudioFormat(encoding=encoding, channel_count=channels)) == expected
