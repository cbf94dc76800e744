"""Between messages and the domain."""

import pytest
from parley.common.v1 import audio_pb2
from parley.tts.v1 import tts_service_pb2 as pb

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UnsupportedAudioError
from services.tts import convert
from services.tts.domain import Chunk, Completed, Started, SynthesisRequest, Voice

PHONE = AudioFormat(Encoding.MULAW, 8_000)
PHONE_MESSAGE = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8_000, channel_count=1)


def test_absent_fields_mean_the_defaults() -> None:
    assert convert.request(pb.SynthesizeRequest(text="Hi")) == SynthesisRequest("Hi")


def test_every_field_of_a_request_arrives() -> None:
    message = pb.SynthesizeRequest(
        text="Hi", voice="ann", language_code="en", audio_format=PHONE_MESSAGE, speaking_rate=1.5, previous_text="Oh."
    )
    assert convert.request(message) == SynthesisRequest("Hi", "ann", "en", PHONE, 1.5, "Oh.")


def test_a_rate_of_zero_is_not_the_same_as_none() -> None:
    assert convert.request(pb.SynthesizeRequest(text="Hi", speaking_rate=0)).speaking_rate == 0


@pytest.mark.parametrize(
    ("audio_format", "field"),
    [
        (audio_pb2.AudioFormat(), "audio_format.encoding"),
        (audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=7_000), "audio_format.sample_rate_hertz"),
        (audio_pb2.AudioFormat(encoding=1, sample_rate_hertz=8_000, channel_count=9), "audio_format.channel_count"),
    ],
)
def test_a_format_that_cannot_be_made_is_refused_by_field(audio_format: audio_pb2.AudioFormat, field: str) -> None:
    with pytest.raises(UnsupportedAudioError) as caught:
        convert.request(pb.SynthesizeRequest(text="Hi", audio_format=audio_format))
    assert caught.value.field == field


def test_each_event_becomes_its_own_message() -> None:
    started = convert.response(Started("ann", PHONE))
    assert started.started == pb.SynthesisStarted(voice="ann", audio_format=PHONE_MESSAGE)
    audio = convert.response(Chunk(b"\x00\x01", 1.25)).audio
    assert (audio.data, audio.offset.seconds, audio.offset.nanos) == (b"\x00\x01", 1, 250_000_000)
    completed = convert.response(Completed(2.5, 0.125, 7)).completed
    assert completed.audio_duration.ToMilliseconds() == 2_500
    assert completed.processing_duration.ToMilliseconds() == 125
    assert completed.character_count == 7


def test_a_voice_says_what_it_is() -> None:
    message = convert.voice(Voice("ann", "hibari", ("en-US", "en"), PHONE))
    assert message == pb.Voice(
        name="ann", engine="hibari", language_codes=["en-US", "en"], native_audio_format=PHONE_MESSAGE
    )
