"""Requests are checked field by field, and events become messages."""

import math

import pytest
from google.protobuf.duration_pb2 import Duration
from parley.common.v1 import audio_pb2
from parley.stt.v1 import stt_service_pb2 as pb

from services.common.errors import InvalidArgumentError, ModelNotFoundError, ParleyError, UnsupportedAudioError
from services.stt import convert
from services.stt.domain import (
    Completed,
    ModelInfo,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    Word,
)
from services.stt.endpointing import EndpointingConfig

INFO = ModelInfo("whisper-base", "faster-whisper", ("en", "de", "jw"), supports_word_timings=True)
FORMAT = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
DEFAULTS = EndpointingConfig()


def config(**fields: object) -> pb.TranscriptionConfig:
    return pb.TranscriptionConfig(**{"audio_format": FORMAT, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "error", "field"),
    [
        (config(model="whisper-huge"), ModelNotFoundError, "config.model"),
        (config(language_code="tlh"), InvalidArgumentError, "config.language_code"),
        (config(hints=["x"] * 101), InvalidArgumentError, "config.hints"),
        (config(hints=["x" * 2_001]), InvalidArgumentError, "config.hints"),
        (pb.TranscriptionConfig(), UnsupportedAudioError, "config.audio_format.encoding"),
        (
            config(audio_format=audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=7_000)),
            UnsupportedAudioError,
            "config.audio_format.sample_rate_hertz",
        ),
    ],
)
def test_a_wrong_field_is_named(message: pb.TranscriptionConfig, error: type[ParleyError], field: str) -> None:
    with pytest.raises(error) as refused:
        convert.transcription_options(message, "config", INFO, "en")
    assert refused.value.field == field


def test_messages_never_repeat_what_the_client_sent() -> None:
    with pytest.raises(ModelNotFoundError) as refused:
        convert.transcription_options(config(model="/etc/passwd"), "config", INFO, "en")
    assert "passwd" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "default", "code", "tag"),
    [("", "de", "de", "de"), ("en-GB", "de", "en", "en-GB"), ("auto", "de", None, ""), ("", "auto", None, "")],
)
def test_the_language_is_the_requests_or_the_servers(asked: str, default: str, code: str | None, tag: str) -> None:
    options = convert.transcription_options(config(language_code=asked), "config", INFO, default)
    assert (options.request.language, options.language_tag) == (code, tag)


def test_everything_that_is_asked_for_arrives() -> None:
    message = config(
        model="whisper-base", enable_interim_results=True, enable_word_timings=True, hints=["Dashwood", "", "Elinor"]
    )
    options = convert.transcription_options(message, "config", INFO, "en")
    assert options.interim_results
    assert options.request.word_timings
    assert options.request.hints == ("Dashwood", "Elinor")


@pytest.mark.parametrize(
    ("endpointing", "field"),
    [
        ({"speech_threshold": 1.5}, "speech_threshold"),
        ({"speech_threshold": math.nan}, "speech_threshold"),
        ({"end_silence": Duration(seconds=11)}, "end_silence"),
        ({"end_silence": Duration()}, "end_silence"),
        ({"min_end_silence": Duration(nanos=5)}, "min_end_silence"),
        ({"min_end_silence": Duration(seconds=2)}, "min_end_silence"),
        ({"max_end_silence": Duration(seconds=11)}, "max_end_silence"),
        ({"end_silence": Duration(seconds=2), "max_end_silence": Duration(seconds=1)}, "max_end_silence"),
        ({"min_speech": Duration(seconds=-1)}, "min_speech"),
        ({"prefix_padding": Duration(seconds=3)}, "prefix_padding"),
        ({"max_utterance": Duration(nanos=5)}, "max_utterance"),
    ],
)
def test_wrong_endpointing_is_named(endpointing: dict[str, object], field: str) -> None:
    message = pb.StreamingConfig(config=config(), endpointing=audio_pb2.EndpointingConfig(**endpointing))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError) as refused:
        convert.stream_options(message, "config", INFO, "en", DEFAULTS)
    assert refused.value.field == f"config.endpointing.{field}"


def test_endpointing_that_is_absent_keeps_the_servers_value() -> None:
    message = pb.StreamingConfig(config=config(), manual_end=True, enable_pauses=True)
    message.endpointing.end_silence.FromMilliseconds(800)
    message.endpointing.min_speech.FromMilliseconds(0)
    options = convert.stream_options(message, "config", INFO, "en", DEFAULTS)
    assert options.endpointing == EndpointingConfig(end_silence_s=0.8, min_speech_s=0.0)
    assert options.manual_end
    assert options.pauses


def test_an_end_silence_set_alone_holds_whatever_is_said() -> None:
    defaults = EndpointingConfig(end_silence_s=0.5, min_end_silence_s=0.3, max_end_silence_s=1.2)
    message = pb.StreamingConfig(config=config())
    assert convert.stream_options(message, "config", INFO, "en", defaults).endpointing == defaults
    message.endpointing.end_silence.FromMilliseconds(800)
    fixed = convert.stream_options(message, "config", INFO, "en", defaults).endpointing
    assert fixed == EndpointingConfig(end_silence_s=0.8)
    message.endpointing.max_end_silence.FromMilliseconds(1500)
    longer = convert.stream_options(message, "config", INFO, "en", defaults).endpointing
    assert longer == EndpointingConfig(end_silence_s=0.8, max_end_silence_s=1.5)


def test_the_config_inside_a_streaming_config_is_named_by_its_whole_path() -> None:
    with pytest.raises(ModelNotFoundError) as refused:
        convert.stream_options(pb.StreamingConfig(config=config(model="no")), "config", INFO, "en", DEFAULTS)
    assert refused.value.field == "config.config.model"


def test_a_final_transcript_is_stable_in_all_its_bytes_and_an_interim_one_as_far_as_it_says() -> None:
    final = Transcript("u", "Grüße", True, "de", 1.0, 2.5, 0.5, (Word("Grüße", 1.0, 2.5, 0.25),))
    message = convert.streaming_response(final).transcript
    assert message.stable_length_bytes == len("Grüße".encode()) == 7
    assert (message.start_offset.ToMilliseconds(), message.end_offset.ToMilliseconds()) == (1000, 2500)
    assert message.words[0].text == "Grüße"
    assert message.words[0].confidence == 0.25
    interim = convert.recording_response(
        Transcript("u", "Grüße", False, "de", 1.0, 2.5, stable_characters=3)
    ).transcript
    assert interim.stable_length_bytes == len("Grü".encode()) == 4
    assert not interim.HasField("confidence")


def test_the_other_events_become_their_messages() -> None:
    started = convert.streaming_response(SpeechStarted("u", 1.25)).speech_started
    assert (started.utterance_id, started.offset.ToMilliseconds()) == ("u", 1250)
    paused = convert.streaming_response(SpeechPaused("u", 1.5)).speech_paused
    assert (paused.utterance_id, paused.offset.ToMilliseconds()) == ("u", 1500)
    assert convert.streaming_response(SpeechResumed("u")).speech_resumed.utterance_id == "u"
    at_pause = convert.streaming_response(Transcript("u", "So", False, "en", 1.0, 1.5, at_pause=True)).transcript
    assert at_pause.is_at_pause
    stopped = convert.streaming_response(SpeechStopped("u", 2.0))
    assert stopped.speech_stopped.offset.ToMilliseconds() == 2000
    assert not stopped.speech_stopped.HasField("turn_end_probability")
    heard = convert.streaming_response(SpeechStopped("u", 2.0, 0.25)).speech_stopped
    assert heard.turn_end_probability == 0.25
    for message in (
        convert.streaming_response(Completed("m", 3.0, 0.5)).completed,
        convert.recording_response(Completed("m", 3.0, 0.5)).completed,
    ):
        assert (message.model, message.audio_duration.seconds, message.processing_duration.nanos) == (
            "m",
            3,
            500_000_000,
        )


def test_a_model_is_listed_with_tags_not_with_whispers_codes() -> None:
    assert list(convert.model_message(INFO).language_codes) == ["de", "en", "jv"]
