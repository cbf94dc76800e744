"""Loudness as pyloudnorm measures it, and gains that keep peaks whole."""

import math

import numpy as np
import pyloudnorm
import pytest

from services.common.audio import Samples
from services.tts.loudness import TARGET_LUFS, even_gain, gain, levelled, lufs


def speechlike(rate_hz: int, level: float) -> Samples:
    """Noise of a falling spectrum that comes and goes four times a second, with a pause."""
    random = np.random.default_rng(7)
    count = 6 * rate_hz
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= 1 + np.fft.rfftfreq(count, 1 / rate_hz) / 500
    envelope = np.abs(np.sin(2 * np.pi * 2 * np.arange(count) / rate_hz))
    envelope[2 * rate_hz : 3 * rate_hz] = 0.0001
    samples = np.fft.irfft(spectrum) * envelope
    made: Samples = (level * samples / np.abs(samples).max()).astype(np.float32)
    return made


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("level", [0.01, 0.9])
def test_it_is_what_pyloudnorm_measures(rate_hz: int, level: float) -> None:
    samples = speechlike(rate_hz, level)
    assert lufs(samples, rate_hz) == pytest.approx(pyloudnorm.Meter(rate_hz).integrated_loudness(samples), abs=0.1)


def test_the_gain_leads_to_the_target() -> None:
    samples = speechlike(24_000, 0.3)
    assert lufs(samples * gain(samples, 24_000), 24_000) == pytest.approx(TARGET_LUFS, abs=0.01)


@pytest.mark.parametrize(("off_lu", "left_lu"), [(5, 1.5), (1, 1), (0, 0), (-1, -1), (-5, -1.5)])
def test_a_sentence_is_as_loud_as_its_voice_but_for_some_emphasis(off_lu: float, left_lu: float) -> None:
    sentence = speechlike(24_000, 0.3)
    of_the_voice = gain(sentence, 24_000) * 10 ** (off_lu / 20)
    heard = sentence * even_gain(sentence, 24_000, of_the_voice)
    assert lufs(heard, 24_000) == pytest.approx(TARGET_LUFS + left_lu, abs=0.01)


def test_peaks_are_rounded_and_not_cut_off() -> None:
    samples = np.linspace(-0.9, 0.9, 1001, dtype=np.float32)
    louder = levelled(samples, 2.0)
    assert np.abs(louder).max() < 1
    assert (np.diff(louder) >= 0).all()
    quiet = np.abs(samples) < 0.4
    np.testing.assert_array_equal(louder[quiet], 2 * samples[quiet])


def test_silence_has_no_loudness_and_is_left_as_it_is() -> None:
    silence = np.zeros(100, np.float32)
    assert lufs(silence, 24_000) == -math.inf
    assert gain(silence, 24_000) == 1
    assert even_gain(silence, 24_000, 3.0) == pytest.approx(10 ** (1.5 / 20))
