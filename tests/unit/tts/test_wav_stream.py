"""WAV as it arrives."""

import struct

import numpy as np
import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UpstreamError
from services.tts.wav_stream import WavStream
from tests.support.speech_server import wav_header

NATIVE = AudioFormat(Encoding.PCM_S16LE, 22_050)
DATA = np.arange(-50, 50, dtype="<i2").tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def with_format(fmt: bytes) -> bytes:
    return b"RIFF\0\0\0\0WAVE" + chunk(b"LIST", b"odd") + chunk(b"fmt ", fmt) + chunk(b"data", DATA)


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_any_parts_give_the_same_samples(size: int) -> None:
    stream, file = WavStream("it"), wav_header(NATIVE) + DATA
    samples = np.concatenate([stream.feed(file[at : at + size]) for at in range(0, len(file), size)])
    stream.finish()
    assert stream.audio_format == NATIVE
    np.testing.assert_array_equal(samples * 32768, np.arange(-50, 50))


def test_what_follows_the_samples_is_not_heard() -> None:
    stream = WavStream("it")
    samples = stream.feed(wav_header(NATIVE, len(DATA)) + DATA + chunk(b"LIST", b"a title"))
    stream.finish()
    assert len(samples) == 100


def test_a_file_that_breaks_off_is_an_error() -> None:
    stream = WavStream("it")
    stream.feed(wav_header(NATIVE, len(DATA)) + DATA[:-2])
    with pytest.raises(UpstreamError, match="it broke off"):
        stream.finish()
    with pytest.raises(UpstreamError, match="it broke off"):
        WavStream("it").finish()


def test_other_chunks_are_passed_over_and_other_encodings_read() -> None:
    extensible = struct.pack("<HHIIHHHHIH14x", 0xFFFE, 2, 48_000, 192_000, 4, 16, 22, 16, 3, 1)
    for fmt, expected in (
        (struct.pack("<HHIIHH", 7, 1, 8_000, 8_000, 1, 8), AudioFormat(Encoding.MULAW, 8_000)),
        (struct.pack("<HHIIHH", 3, 1, 24_000, 96_000, 4, 32), AudioFormat(Encoding.PCM_F32LE, 24_000)),
        (extensible, AudioFormat(Encoding.PCM_S16LE, 48_000, 2)),
    ):
        stream = WavStream("it")
        assert len(stream.feed(with_format(fmt))) == len(DATA) // expected.frame_bytes
        assert stream.audio_format == expected


@pytest.mark.parametrize(
    "file",
    [
        b"ID3\x04 an MP3 file",
        b"RIFF\0\0\0\0AVI ",
        with_format(struct.pack("<HHIIHH", 1, 1, 24_000, 72_000, 3, 24)),
        with_format(struct.pack("<HHIIHH", 1, 1, 1, 2, 2, 16)),
        with_format(b"short"),
        b"RIFF\0\0\0\0WAVE" + chunk(b"data", DATA),
        b"RIFF\0\0\0\0WAVE" + chunk(b"junk", bytes(70_000)),
    ],
)
def test_what_cannot_be_played_is_an_error(file: bytes) -> None:
    with pytest.raises(UpstreamError, match=r"^it sends"):
        WavStream("it").feed(file)


def test_a_whole_file_may_come_as_one_part() -> None:
    stream = WavStream("it")
    assert len(stream.feed(wav_header(NATIVE) + DATA * 1000)) == 100_000
