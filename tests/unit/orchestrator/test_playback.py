"""What was heard of a response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playback import Playback


def spoken(*segments: tuple[str, float]) -> Playback:
    playback = Playback()
    for text, audio_s in segments:
        playback.begin_segment(text)
        playback.sent(audio_s, at=10.0)
        playback.end_segment()
    return playback


def test_nothing_is_heard_before_the_first_audio() -> None:
    assert Playback().played_s(now=5.0) == 0.0
    assert Playback().heard(0.0) == ""


def test_the_clock_runs_from_the_first_audio_and_stops_at_what_was_sent() -> None:
    playback = spoken(("One two three four.", 2.0))
    assert playback.played_s(now=11.5) == pytest.approx(1.5)
    assert playback.played_s(now=60.0) == pytest.approx(2.0)


def test_a_word_cut_in_the_middle_was_not_heard() -> None:
    playback = spoken(("One two three four.", 2.0))
    assert playback.heard(1.0) == "One two"
    assert playback.heard(2.0) == "One two three four."


def test_whole_segments_before_the_cut_were_heard() -> None:
    playback = spoken(("First.", 1.0), ("Second part here.", 2.0))
    assert playback.heard(1.0) == "First."
    assert playback.heard(2.5) == "First. Second part"


def test_of_a_segment_still_being_synthesized_only_the_part_that_was_sent_counts() -> None:
    playback = spoken(("Ten letters", 1.0))
    playback.begin_segment("abcd efgh ijkl mnop qrst uvwx")
    playback.sent(1.0, at=11.0)
    assert playback.heard(2.0) == "Ten letters abcd efgh"


@given(st.lists(st.tuples(st.text("ab ", min_size=1, max_size=30), st.floats(0.1, 5)), max_size=5), st.floats(0, 30))
def test_what_was_heard_grows_with_time_and_is_a_prefix_of_what_was_said(
    segments: list[tuple[str, float]], at: float
) -> None:
    playback = spoken(*segments)
    whole = " ".join(text for text, _ in segments if text)
    heard = playback.heard(at)
    assert whole.startswith(heard)
    assert len(heard) <= len(playback.heard(at + 1.0))
