"""Server events as plain data."""

import pytest
from parley.agent.v1 import agent_service_pb2 as pb

from cli import events
from cli.session import SessionOptions, _config, _event
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import duration


def event(**fields: object) -> events.Event | None:
    return _event(pb.ConverseResponse(**fields))  # type: ignore[arg-type]


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
        ({"response_created": pb.ResponseCreated(response_id="r")}, events.ResponseStarted("r")),
        (
            {"response_output_text_delta": pb.ResponseOutputTextDelta(response_id="r", delta="x")},
            events.TextDelta("r", "x"),
        ),
        (
            {"response_output_audio_delta": pb.ResponseOutputAudioDelta(response_id="r", audio=b"12")},
            events.AudioDelta("r", b"12"),
        ),
        (
            {"error": pb.ErrorEvent(message="the x service is not reachable")},
            events.TurnFailed("the x service is not reachable"),
        ),
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


def test_what_the_user_did_not_ask_for_is_left_to_the_server() -> None:
    config = _config(SessionOptions(AudioFormat(Encoding.PCM_S16LE, 16_000)))
    assert config.input_audio_format.sample_rate_hertz == 16_000
    for name in ("voice", "language_code", "instructions"):
        assert not config.HasField(name)


def test_what_the_user_asked_for_is_sent() -> None:
    options = SessionOptions(
        AudioFormat(Encoding.PCM_S16LE, 16_000),
        voice="heart",
        language="de",
        instructions="Be brief.",
        conversation_id="c",
    )
    config = _config(options)
    assert (config.voice, config.language_code, config.instructions) == ("heart", "de", "Be brief.")
    assert config.conversation_id == "c"
