"""Speech made faster and slower."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import Samples
from services.tts.timescale import TimeScale, time_scale

RATE = 16_000


def vowel(seconds: float, hertz: float = 125.0) -> Samples:
    """A harmonic tone, as voiced speech is."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * sum(np.sin(2 * np.pi * hertz * k * t) / k for k in range(1, 6))).astype(np.float32)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.5, 2.0, 3.1])
def test_the_length_is_divided_by_the_factor(factor: float) -> None:
    audio = vowel(1.3)
    assert len(time_scale(audio, factor, RATE)) == math.ceil(len(audio) / factor)


@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_pitch_and_loudness_stay(factor: float) -> None:
    audio = vowel(2.0)
    scaled = time_scale(audio, factor, RATE)[RATE // 10 : -RATE // 10]
    spectrum = np.abs(np.fft.rfft(scaled * np.hanning(len(scaled))))
    peak_hz = np.argmax(spectrum) * RATE / len(scaled)
    assert peak_hz == pytest.approx(125, abs=3)
    assert np.sqrt(np.mean(scaled**2)) == pytest.approx(np.sqrt(np.mean(audio**2)), rel=0.05)


def test_joins_make_no_clicks() -> None:
    audio = vowel(2.0)
    steepest = np.abs(np.diff(audio)).max()
    assert np.abs(np.diff(time_scale(audio, 1.6, RATE))).max() < 1.2 * steepest


def test_a_factor_of_one_is_the_audio_itself() -> None:
    audio = vowel(0.2)
    assert time_scale(audio, 1.0, RATE) is audio


@pytest.mark.parametrize("count", [0, 1, 100, 700])
def test_less_than_a_frame_works(count: int) -> None:
    assert len(time_scale(vowel(0.1)[:count], 0.5, RATE)) == 2 * count


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3000), max_size=8), st.sampled_from([0.4, 0.9, 1.3, 2.5]))
def test_any_chunking_gives_the_same_samples(lengths: list[int], factor: float) -> None:
    audio = vowel(2.0)[: sum(lengths)]
    scale = TimeScale(factor, RATE)
    parts, begin = [], 0
    for length in lengths:
        parts.append(scale.feed(audio[begin : begin + length]))
        begin += length
    parts.append(scale.finish())
    np.testing.assert_array_equal(np.concatenate(parts), time_scale(audio, factor, RATE))
