"""When speech begins to be heard, by a clock that the test sets."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.common.audio import Samples
from services.tts.metrics import Onset, TtsMetrics

RATE = 1000


class Request:
    """One request at a virtual time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.now = 100.0
        self.onset = Onset(TtsMetrics(self.registry), RATE, lambda: self.now)

    def give(self, samples: Samples, at_s: float) -> None:
        self.now = 100.0 + at_s
        self.onset.made(samples)
        self.onset.sent()

    def seconds(self, name: str) -> list[float]:
        """What was observed, at most one value."""
        count = self.registry.get_sample_value(f"parley_tts_time_to_first_{name}_seconds_count")
        return [self.registry.get_sample_value(f"parley_tts_time_to_first_{name}_seconds_sum") or 0] if count else []


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def tone(seconds: float) -> Samples:
    return np.full(round(seconds * RATE), 0.25, np.float32)


def test_a_lead_of_silence_is_heard_later_than_the_first_byte() -> None:
    request = Request()
    request.give(np.concatenate((silence(0.2), tone(0.5))), at_s=0.05)
    assert request.seconds("byte") == pytest.approx([0.05])
    assert request.seconds("audible_sample") == pytest.approx([0.25])


def test_sound_of_a_later_piece_is_heard_once_what_came_before_was_played() -> None:
    request = Request()
    request.give(silence(1.0), at_s=0.1)
    request.give(tone(1.0), at_s=0.3)
    assert request.seconds("audible_sample") == pytest.approx([1.1])


def test_sound_that_comes_late_is_heard_when_it_comes() -> None:
    request = Request()
    request.give(silence(0.1), at_s=0.1)
    request.give(np.concatenate((silence(0.1), tone(1.0))), at_s=2.0)
    assert request.seconds("audible_sample") == pytest.approx([2.1])


def test_it_is_measured_once_and_never_for_silence() -> None:
    request = Request()
    request.give(silence(0.1), at_s=0.1)
    request.give(silence(0.0), at_s=0.1)
    assert request.seconds("audible_sample") == []
    request.give(tone(0.1), at_s=0.2)
    request.give(tone(0.1), at_s=0.9)
    assert request.seconds("audible_sample") == pytest.approx([0.2])


def test_the_real_time_factor_is_of_audio_that_there_is() -> None:
    registry = CollectorRegistry()
    metrics = TtsMetrics(registry)
    metrics.spoken(0.0, 0.0)
    metrics.spoken(2.0, 0.5)
    assert registry.get_sample_value("parley_tts_real_time_factor_count") == 1
    assert registry.get_sample_value("parley_tts_real_time_factor_sum") == 0.25
    assert registry.get_sample_value("parley_tts_audio_seconds_total") == 2.0
