"""Chunks for the wire."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import Samples, decode_frames, encode, resample
from services.common.audio_format import AudioFormat, Encoding
from services.tts.chunks import Chunker
from services.tts.domain import Chunk

RATE = 24_000
NATIVE = AudioFormat(Encoding.PCM_S16LE, RATE)


def tone(count: int) -> Samples:
    return (0.3 * np.sin(np.arange(count) / 9)).astype(np.float32)


def durations_ms(chunks: list[Chunk], audio_format: AudioFormat) -> list[float]:
    return [1000 * len(chunk.data) / audio_format.bytes_per_second for chunk in chunks]


def test_a_sentence_in_one_piece_leaves_as_a_short_chunk_and_then_long_ones() -> None:
    chunks = list(Chunker(RATE, NATIVE).feed(tone(RATE // 2)))
    assert durations_ms(chunks, NATIVE) == [40, 100, 100, 100, 100, 60]
    assert [chunk.offset_s for chunk in chunks] == pytest.approx([0, 0.04, 0.14, 0.24, 0.34, 0.44])


def test_what_follows_on_other_speech_begins_with_a_long_chunk() -> None:
    chunks = list(Chunker(RATE, NATIVE, short_first=False).feed(tone(RATE // 4)))
    assert durations_ms(chunks, NATIVE) == [100, 100, 50]


def test_a_rest_that_is_too_short_is_shared_with_the_chunk_before_it() -> None:
    chunks = list(Chunker(RATE, NATIVE).feed(tone(round(0.25 * RATE))))
    assert durations_ms(chunks, NATIVE) == [40, 100, 90, 20]


def test_twenty_milliseconds_leave_at_once_and_less_waits_for_more() -> None:
    chunker = Chunker(RATE, NATIVE)
    assert list(chunker.feed(tone(479))) == []
    assert durations_ms(list(chunker.feed(tone(1))), NATIVE) == [20]
    assert list(chunker.feed(tone(100))) == []
    assert len(b"".join(chunk.data for chunk in chunker.finish())) == 200


def test_the_first_chunk_does_not_wait_for_those_after_it_to_be_made() -> None:
    chunker = Chunker(RATE, NATIVE)
    first = next(chunker.feed(tone(100 * RATE)))
    assert len(first.data) == 2 * 960
    assert chunker.audio_s == 0.04


def test_no_audio_makes_no_chunk() -> None:
    chunker = Chunker(RATE, NATIVE)
    assert [*chunker.feed(tone(0)), *chunker.finish()] == []
    assert chunker.audio_s == 0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 9000), max_size=6),
    st.sampled_from(list(Encoding)),
    st.sampled_from([8_000, 11_025, 16_000, 24_000, 44_100, 48_000]),
    st.sampled_from([1, 2]),
)
def test_chunks_are_the_audio_whole_and_in_order(
    lengths: list[int], encoding: Encoding, rate: int, channels: int
) -> None:
    audio_format = AudioFormat(encoding, rate, channels)
    audio = tone(sum(lengths))
    chunker, chunks, begin = Chunker(RATE, audio_format), [], 0
    for length in lengths:
        chunks += chunker.feed(audio[begin : begin + length])
        begin += length
    chunks += chunker.finish()

    expected = encode(resample(audio, RATE, rate), audio_format)
    got = b"".join(chunk.data for chunk in chunks)
    assert len(got) == len(expected)
    np.testing.assert_allclose(decode_frames(got, audio_format), decode_frames(expected, audio_format), atol=0.02)

    frames = 0
    for chunk in chunks:
        assert len(chunk.data) % audio_format.frame_bytes == 0
        assert chunk.offset_s == pytest.approx(frames / rate)
        frames += len(chunk.data) // audio_format.frame_bytes
    assert chunker.audio_s == pytest.approx(frames / rate)
    assert all(20 - 0.1 <= ms <= 100 + 0.1 for ms in durations_ms(chunks, audio_format)[:-1])
    assert durations_ms(chunks[:1], audio_format) == [] or durations_ms(chunks[:1], audio_format)[0] <= 40.1
