"""Silence before and after speech."""

import numpy as np
import numpy.typing as npt
import pytest

from services.tts.trim import LEAD_KEPT_S, trim

RATE = 24_000


def speech(seconds: float) -> npt.NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE) + 0.01).astype(np.float32)


def silence(seconds: float) -> npt.NDArray[np.float32]:
    return np.zeros(round(seconds * RATE), np.float32)


def test_a_long_lead_is_cut_to_twenty_milliseconds_and_a_long_tail_to_what_is_asked_for() -> None:
    word = speech(0.5)
    trimmed = trim(np.concatenate([silence(0.3), word, silence(0.45)]), RATE, 0.2)
    lead = round(LEAD_KEPT_S * RATE)
    assert len(trimmed) == lead + len(word) + round(0.2 * RATE)
    np.testing.assert_array_equal(trimmed[lead : lead + len(word)], word)


def test_short_silence_stays() -> None:
    audio = np.concatenate([silence(0.03), speech(0.5), silence(0.1)])
    np.testing.assert_array_equal(trim(audio, RATE, 0.2), audio)


def test_cut_noise_floors_are_faded_in_and_out() -> None:
    floor = np.full(RATE // 2, 0.0004, np.float32)
    trimmed = trim(np.concatenate([floor, speech(0.2), floor]), RATE, 0.1)
    assert trimmed[0] == 0
    assert trimmed[-1] == 0
    assert np.abs(np.diff(trimmed[:200])).max() < 1e-4


def test_audio_that_breaks_off_in_a_sound_ends_without_a_click() -> None:
    trimmed = trim(np.concatenate([silence(0.3), speech(0.2)]), RATE, 0.1)
    assert trimmed[-1] == 0
    assert np.abs(trimmed[-100:]).max() > 0.01


def test_sound_from_the_first_sample_on_is_left_alone() -> None:
    audio = np.concatenate([speech(0.2), silence(0.05)])
    np.testing.assert_array_equal(trim(audio, RATE, 0.1), audio)


@pytest.mark.parametrize("audio", [silence(0), silence(1.0), np.full(RATE, 0.0001, np.float32)])
def test_silence_alone_becomes_nothing(audio: npt.NDArray[np.float32]) -> None:
    assert len(trim(audio, RATE, 0.3)) == 0
