"""Samples in and out of bytes, and resampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import Decoder, Resampler, decode, decode_frames, encode, resample
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UnsupportedAudioError

PCM = AudioFormat(Encoding.PCM_S16LE, 16_000)
FLOAT = AudioFormat(Encoding.PCM_F32LE, 16_000)
STEREO = AudioFormat(Encoding.PCM_S16LE, 44_100, 2)


def tone(rate_hz: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def feed_in_steps(decoder: Decoder, data: bytes, step: int) -> None:
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])


def test_16_bit_audio_comes_back_bit_for_bit() -> None:
    every = np.arange(-32768, 32768).astype("<i2").tobytes()
    assert encode(decode(every, PCM), PCM) == every


def test_edge_29_16_bit_extremes_are_clipped_not_wrapped() -> None:
    assert np.frombuffer(encode(np.array([1, 1.5, -1, -2], np.float32), PCM), "<i2").tolist() == [
        *(32767, 32767),
        *(-32768, -32768),
    ]


def test_float_audio_that_is_no_sound_is_tamed() -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 7, -7, 0.25], "<f4")
    np.testing.assert_array_equal(decode(wild.tobytes(), FLOAT), np.array([0, 1, -1, 1, -1, 0.25], np.float32))


def test_channels_are_averaged_on_the_way_in_and_repeated_on_the_way_out() -> None:
    frames = np.array([[1000, 3000], [-200, 200]], "<i2")
    mono = decode(frames.tobytes(), STEREO)
    np.testing.assert_array_equal(mono, np.array([2000, 0], np.float32) / 32768)
    assert np.frombuffer(encode(mono, STEREO), "<i2").tolist() == [2000, 2000, 0, 0]


@settings(deadline=None)
@given(
    st.binary(max_size=200),
    st.lists(st.integers(1, 7), max_size=60),
    st.sampled_from([PCM, FLOAT, STEREO, AudioFormat(Encoding.MULAW, 8_000)]),
)
def test_any_chunking_decodes_to_the_same_samples(data: bytes, lengths: list[int], audio_format: AudioFormat) -> None:
    data = b"\x01" + data  # never a file header
    decoder, parts, at = Decoder(audio_format), [], 0
    for length in [*lengths, len(data)]:
        parts.append(decoder.feed(data[at : at + length]))
        at += length
    whole = data[: len(data) - len(data) % audio_format.frame_bytes]
    np.testing.assert_array_equal(np.concatenate(parts), decode_frames(whole, audio_format))


@pytest.mark.parametrize(
    ("audio_format", "data", "message"),
    [
        (PCM, b"\x00" * 3, "ends inside a sample: 1 of 2 bytes"),
        (STEREO, b"\x00" * 6, "ends inside a sample: 2 of 4 bytes"),
        (FLOAT, b"\x00" * 7, "ends inside a sample: 3 of 4 bytes"),
    ],
)
def test_edge_29_half_a_sample_at_the_end_is_refused(audio_format: AudioFormat, data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedAudioError, match=message) as caught:
        decode(data, audio_format, "request.audio")
    assert caught.value.field == "request.audio"


def test_edge_29_no_bytes_are_no_samples() -> None:
    assert len(decode(b"", PCM)) == 0


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"RIFF\x24\x00", "a WAV file"), (b"OggS", "an Ogg file"), (b"fLaC", "a FLAC file"), (b"ID3\x04", "an MP3 file")],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_edge_29_a_file_header_is_refused_however_it_is_cut(head: bytes, name: str, step: int) -> None:
    with pytest.raises(UnsupportedAudioError, match=f"looks like {name}; send raw samples without a header"):
        feed_in_steps(Decoder(PCM, "audio"), head + b"\x00" * 40, step)


def test_the_same_bytes_later_in_the_stream_are_audio() -> None:
    decoder = Decoder(PCM)
    decoder.feed(b"\x00" * 4)
    assert len(decoder.feed(b"RIFF")) == 2


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (24_000, 8_000)])
def test_resampling_keeps_length_pitch_and_loudness(from_hz: int, to_hz: int) -> None:
    out = resample(tone(from_hz, 1.0), from_hz, to_hz)
    assert len(out) == pytest.approx(to_hz, abs=2)
    middle = slice(to_hz // 10, -to_hz // 10)
    np.testing.assert_allclose(out[middle], tone(to_hz, 1.0)[: len(out)][middle], atol=0.01)


def test_resampling_down_leaves_nothing_to_alias() -> None:
    assert np.abs(resample(tone(48_000, 0.5, 10_000), 48_000, 16_000)[800:-800]).max() < 0.01


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 2000), min_size=1, max_size=8),
    st.sampled_from([(24_000, 8_000), (22_050, 48_000), (8_000, 16_000), (16_000, 16_000)]),
)
def test_any_chunking_resamples_to_the_same_samples(lengths: list[int], rates: tuple[int, int]) -> None:
    audio = tone(rates[0], 1.0)[: sum(lengths)]
    resampler, parts, at = Resampler(*rates), [], 0
    for length in lengths:
        parts.append(resampler.feed(audio[at : at + length]))
        at += length
    parts.append(resampler.feed(audio[at:], last=True))
    expected = resample(audio[: max(at, len(audio))], *rates)
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("audio_format", "field"),
    [
        (AudioFormat(Encoding.PCM_S16LE, 7_999), "config.sample_rate_hertz"),
        (AudioFormat(Encoding.PCM_S16LE, 48_001), "config.sample_rate_hertz"),
        (AudioFormat(Encoding.PCM_S16LE, 16_000, 0), "config.channel_count"),
        (AudioFormat(Encoding.PCM_S16LE, 16_000, 9), "config.channel_count"),
    ],
)
def test_formats_that_no_service_handles_are_refused_by_field(audio_format: AudioFormat, field: str) -> None:
    with pytest.raises(UnsupportedAudioError) as caught:
        audio_format.validate("config")
    assert caught.value.field == field


def test_sizes_follow_from_the_format() -> None:
    assert (STEREO.frame_bytes, STEREO.bytes_per_second) == (4, 176_400)
    assert AudioFormat(Encoding.ALAW, 8_000).bytes_per_second == 8_000


@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_is_no_number_is_silence(encoding: Encoding) -> None:
    strange = np.array([np.nan, np.inf, -np.inf, 1e38], np.float32)
    one = AudioFormat(encoding, 8000)
    assert encode(strange, one) == encode(np.array([0, 1, -1, 1], np.float32), one)
