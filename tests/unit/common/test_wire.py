"""Conversions that all transport layers share."""

import pytest
from google.protobuf.duration_pb2 import Duration
from parley.common.v1 import audio_pb2

from services.common import wire
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, UnsupportedAudioError


@pytest.mark.parametrize("encoding", list(Encoding))
def test_formats_survive_the_wire(encoding: Encoding) -> None:
    audio_format = AudioFormat(encoding, 44_100, 2)
    assert wire.audio_format(wire.audio_format_message(audio_format), "f") == audio_format


def test_every_encoding_of_the_contract_is_known() -> None:
    for value in audio_pb2.AudioEncoding.values():
        if value:
            wire.audio_format(audio_pb2.AudioFormat(encoding=value, sample_rate_hertz=8_000), "f")  # type: ignore[arg-type]


def test_no_channel_count_means_one() -> None:
    message = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8_000)
    assert wire.audio_format(message, "f").channels == 1


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (audio_pb2.AudioFormat(sample_rate_hertz=8_000), "config.audio_format.encoding"),
        (audio_pb2.AudioFormat(encoding=99, sample_rate_hertz=8_000), "config.audio_format.encoding"),  # type: ignore[arg-type]
        (audio_pb2.AudioFormat(encoding=1), "config.audio_format.sample_rate_hertz"),
        (audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=7_000), "config.audio_format.sample_rate_hertz"),
    ],
)
def test_a_format_at_fault_is_named_down_to_the_field(message: audio_pb2.AudioFormat, field: str) -> None:
    with pytest.raises(UnsupportedAudioError) as caught:
        wire.audio_format(message, "config.audio_format")
    assert caught.value.field == field


@pytest.mark.parametrize("seconds", [0.0, 0.02, 1.5, 0.999999999, 3600.000001, -0.5, -2.25])
def test_durations_survive_the_wire(seconds: float) -> None:
    message = wire.duration(seconds)
    assert wire.seconds(message) == pytest.approx(seconds, abs=1e-9)
    assert message.ToNanoseconds() == round(seconds * 1e9)


def test_seconds_outside_their_limits_are_refused_by_field() -> None:
    assert wire.bounded_seconds(Duration(seconds=2), "f", 0, 2) == 2
    with pytest.raises(InvalidArgumentError, match=r"2\.5 s is outside 0 to 2 s") as caught:
        wire.bounded_seconds(Duration(seconds=2, nanos=500_000_000), "f", 0, 2)
    assert caught.value.field == "f"
