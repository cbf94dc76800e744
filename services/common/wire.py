"""Conversions between common contract messages and plain data; used by every transport layer."""

import re

from google.protobuf.duration_pb2 import Duration
from parley.common.v1 import audio_pb2

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import InvalidArgumentError, UnsupportedAudioError

_ENCODINGS = {
    audio_pb2.AUDIO_ENCODING_PCM_S16LE: Encoding.PCM_S16LE,
    audio_pb2.AUDIO_ENCODING_PCM_F32LE: Encoding.PCM_F32LE,
    audio_pb2.AUDIO_ENCODING_MULAW: Encoding.MULAW,
    audio_pb2.AUDIO_ENCODING_ALAW: Encoding.ALAW,
}
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_ENCODING_VALUES = {encoding: value for value, encoding in _ENCODINGS.items()}


def check_id(ident: str, field: str) -> None:
    """Check an id that a client gives, which goes on in headers: there a character that is not plain ends the call.

    Raises:
        InvalidArgumentError: naming the field.
    """
    if ident and not _ID.fullmatch(ident):
        raise InvalidArgumentError("must be 1 to 128 letters, digits, dots, dashes, colons or _", field=field)


def audio_format(message: audio_pb2.AudioFormat, field: str) -> AudioFormat:
    """A format from the wire, checked.

    Raises:
        UnsupportedAudioError: naming the field below `field` at fault.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise UnsupportedAudioError("is required: one of the AudioEncoding values", field=f"{field}.encoding")
    parsed = AudioFormat(encoding, message.sample_rate_hertz, message.channel_count or 1)
    parsed.validate(field)
    return parsed


def audio_format_message(parsed: AudioFormat) -> audio_pb2.AudioFormat:
    """A format for the wire."""
    return audio_pb2.AudioFormat(
        encoding=_ENCODING_VALUES[parsed.encoding],
        sample_rate_hertz=parsed.sample_rate_hz,
        channel_count=parsed.channels,
    )


def duration(seconds: float) -> Duration:
    """Seconds for the wire."""
    nanos = round(seconds * 1e9)
    whole = int(nanos / 1e9)  # towards zero: both parts of a Duration have the same sign
    return Duration(seconds=whole, nanos=nanos - whole * 1_000_000_000)


def seconds(message: Duration) -> float:
    """Seconds from the wire."""
    return message.seconds + message.nanos / 1e9


def bounded_seconds(message: Duration, field: str, low: float, high: float) -> float:
    """Seconds from the wire, within limits.

    Raises:
        InvalidArgumentError: naming the field.
    """
    value = seconds(message)
    if not low <= value <= high:
        raise InvalidArgumentError(f"{value:g} s is outside {low:g} to {high:g} s", field=field)
    return value
