"""From offsets in the user's audio to times."""

import pytest

from services.common.audio_clock import AudioClock


def test_an_offset_is_dated_by_the_arrival_of_the_chunk_that_holds_it() -> None:
    clock = AudioClock()
    for number in range(10):
        clock.arrived(0.02, at=100 + number * 0.02)
    assert clock.total_s == pytest.approx(0.2)
    assert clock.when(0.05, now=200.0) == pytest.approx(100.04)
    assert clock.when(0.0, now=200.0) == pytest.approx(100.0)


def test_an_offset_beyond_all_audio_is_now() -> None:
    clock = AudioClock()
    clock.arrived(1.0, at=5.0)
    assert clock.when(1.5, now=7.0) == 7.0


def test_audio_sent_faster_than_speech_is_dated_by_its_arrival_too() -> None:
    clock = AudioClock()
    clock.arrived(30.0, at=5.0)
    assert clock.when(12.0, now=9.0) == 5.0
