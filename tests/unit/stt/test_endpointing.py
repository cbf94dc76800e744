"""Beginnings and ends of speech, on a clock of 32 ms frames."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stt.endpointing import (
    MANUAL_PAUSE_S,
    SEGMENT_LIMIT_S,
    Endpointer,
    EndpointEvent,
    EndpointingConfig,
    Paused,
    Resumed,
    SegmentEnded,
    SegmentStarted,
)
from services.stt.timebase import FRAME_SAMPLES, SAMPLE_RATE_HZ

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
CONFIG = EndpointingConfig(
    end_silence_s=10 * FRAME_S,
    soft_silence_s=4 * FRAME_S,
    min_speech_s=3 * FRAME_S,
    prefix_padding_s=2 * FRAME_S,
    max_utterance_s=100 * FRAME_S,
)


def run(endpointer: Endpointer, *probabilities: float) -> list[EndpointEvent]:
    return [event for probability in probabilities for event in endpointer.feed(probability)]


def frames(count: int) -> int:
    return count * FRAME_SAMPLES


def speech(count: int) -> list[float]:
    return [0.9] * count


def silence(count: int) -> list[float]:
    return [0.01] * count


def test_an_utterance_starts_with_its_padding_and_ends_after_the_silence() -> None:
    events = run(Endpointer(CONFIG), *silence(20), *speech(10), *silence(10))
    assert events == [
        SegmentStarted(frames(18), frames(20)),
        Paused(frames(30), frames(34)),
        SegmentEnded(frames(18), frames(20), frames(30), frames(34), closes_utterance=True),
    ]


def test_the_end_comes_with_the_very_frame_that_completes_the_silence() -> None:
    endpointer = Endpointer(CONFIG)
    assert not any(isinstance(event, SegmentEnded) for event in run(endpointer, *speech(10), *silence(9)))
    assert any(isinstance(event, SegmentEnded) for event in run(endpointer, *silence(1)))


def test_edge_30_speech_in_the_very_first_frame_is_whole() -> None:
    assert run(Endpointer(CONFIG), *speech(3)) == [SegmentStarted(0, 0)]


def test_edge_30_a_burst_shorter_than_min_speech_is_ignored() -> None:
    assert run(Endpointer(CONFIG), *(silence(5) + speech(2)) * 20, *silence(20)) == []


def test_edge_30_a_pause_inside_a_sentence_does_not_end_it() -> None:
    events = run(Endpointer(CONFIG), *speech(10), *silence(9), *speech(10), *silence(10))
    assert [type(event) for event in events] == [SegmentStarted, Paused, Resumed, Paused, SegmentEnded]
    assert events[-1] == SegmentEnded(0, 0, frames(29), frames(33), closes_utterance=True)


def test_a_pause_shorter_than_the_soft_silence_is_no_event() -> None:
    assert [type(event) for event in run(Endpointer(CONFIG), *speech(10), *silence(3), *speech(10))] == [SegmentStarted]


def test_between_the_two_thresholds_speech_goes_on_and_silence_stays_silence() -> None:
    started = run(Endpointer(CONFIG), 0.9, 0.4, 0.4)
    assert started == [SegmentStarted(0, 0)]
    assert run(Endpointer(CONFIG), *[0.4] * 50) == []
    ended = run(Endpointer(CONFIG), *speech(5), 0.1, *[0.4] * 9)
    assert ended[-1] == SegmentEnded(0, 0, frames(5), frames(9), closes_utterance=True)


def test_padding_never_reaches_into_the_utterance_before() -> None:
    config = EndpointingConfig(
        end_silence_s=4 * FRAME_S, soft_silence_s=4 * FRAME_S, min_speech_s=FRAME_S, prefix_padding_s=1.0
    )
    events = run(Endpointer(config), *speech(5), *silence(4), *speech(5))
    ended, started = (event for event in events[1:] if not isinstance(event, Paused))
    assert isinstance(ended, SegmentEnded)
    assert started == SegmentStarted(ended.end, frames(9))


def test_an_end_silence_shorter_than_the_soft_one_ends_at_once() -> None:
    config = EndpointingConfig(end_silence_s=2 * FRAME_S, soft_silence_s=1.0, min_speech_s=0)
    events = run(Endpointer(config), *speech(5), *silence(2))
    assert events[-1] == SegmentEnded(0, 0, frames(5), frames(7), closes_utterance=True)


def test_in_a_pause_the_wait_for_the_end_can_be_made_shorter_or_longer_this_once() -> None:
    endpointer = Endpointer(CONFIG)
    assert run(endpointer, *speech(10), *silence(5))[-1] == Paused(frames(10), frames(14))
    endpointer.expect_end(6 * FRAME_S)
    shorter = SegmentEnded(0, 0, frames(10), frames(14), closes_utterance=True)
    assert run(endpointer, *silence(1)) == [shorter]
    run(endpointer, *speech(10), *silence(5))
    endpointer.expect_end(20 * FRAME_S)
    assert run(endpointer, *silence(14)) == []
    assert [type(event) for event in run(endpointer, *silence(1))] == [SegmentEnded]
    run(endpointer, *speech(10))
    assert [type(event) for event in run(endpointer, *silence(10))] == [Paused, SegmentEnded]


def test_a_wait_holds_only_for_the_pause_that_it_was_made_for() -> None:
    endpointer = Endpointer(CONFIG)
    run(endpointer, *speech(10), *silence(5))
    endpointer.expect_end(20 * FRAME_S)
    events = run(endpointer, *speech(5), *silence(10))
    assert [type(event) for event in events] == [Resumed, Paused, SegmentEnded]


def test_without_a_pause_or_with_manual_end_the_wait_cannot_be_changed() -> None:
    speaking, manual = Endpointer(CONFIG), Endpointer(CONFIG, manual_end=True)
    for endpointer in (speaking, manual):
        run(endpointer, *speech(10))
        endpointer.expect_end(FRAME_S)
    assert [type(event) for event in run(speaking, *silence(9))] == [Paused]
    run(manual, *silence(20))
    manual.expect_end(FRAME_S)
    assert run(manual, *silence(20)) == []


def test_the_soft_silence_is_never_longer_than_the_shortest_wait() -> None:
    config = replace(CONFIG, min_end_silence_s=3 * FRAME_S, soft_silence_s=8 * FRAME_S)
    assert run(Endpointer(config), *speech(10), *silence(3))[-1] == Paused(frames(10), frames(13))


def test_without_a_soft_silence_nothing_is_announced_before_the_end() -> None:
    config = EndpointingConfig(end_silence_s=10 * FRAME_S, soft_silence_s=0)
    events = run(Endpointer(config), *speech(9), *silence(10))
    assert [type(event) for event in events] == [SegmentStarted, SegmentEnded]


def test_at_max_utterance_the_next_begins_where_the_last_was_cut() -> None:
    events = run(Endpointer(CONFIG), *speech(250))
    started = [event for event in events if isinstance(event, SegmentStarted)]
    ended = [event for event in events if isinstance(event, SegmentEnded)]
    assert len(ended) == 2
    assert all(event.closes_utterance and event.speech_end == event.end for event in ended)
    assert [event.start for event in started[1:]] == [event.end for event in ended]
    assert all(event.end - event.start <= frames(100) for event in ended)


def test_edge_30_the_cut_at_max_utterance_falls_between_two_words() -> None:
    words = speech(80) + [0.2] * 3 + speech(40)
    cut = next(event for event in run(Endpointer(CONFIG), *words) if isinstance(event, SegmentEnded))
    assert frames(80) <= cut.end <= frames(83)


def test_max_utterance_reached_in_a_pause_just_ends_the_utterance() -> None:
    events = run(Endpointer(CONFIG), *speech(95), *silence(20))
    assert [type(event) for event in events] == [SegmentStarted, Paused, SegmentEnded]
    assert events[-1] == SegmentEnded(0, 0, frames(95), frames(99), closes_utterance=True)


def test_an_utterance_longer_than_a_models_window_is_cut_into_segments_but_stays_one() -> None:
    config = EndpointingConfig(max_utterance_s=60.0, end_silence_s=10 * FRAME_S)
    events = run(Endpointer(config), *speech(round(40 / FRAME_S)), *silence(10))
    ended = [event for event in events if isinstance(event, SegmentEnded)]
    assert [event.closes_utterance for event in ended] == [False, True]
    assert ended[0].end == ended[1].start
    assert all(event.end - event.start <= (SEGMENT_LIMIT_S + FRAME_S) * SAMPLE_RATE_HZ for event in ended)


def test_flush_closes_what_is_being_said_with_its_last_sample() -> None:
    endpointer = Endpointer(CONFIG)
    run(endpointer, *speech(10))
    end = frames(10) + 100
    assert endpointer.flush(end) == (SegmentEnded(0, 0, end, end, closes_utterance=True),)
    assert endpointer.flush(end) == ()


def test_flush_in_a_pause_names_the_audio_that_the_pause_named() -> None:
    endpointer = Endpointer(CONFIG)
    paused = run(endpointer, *speech(10), *silence(6))[-1]
    assert paused == Paused(frames(10), frames(14))
    assert endpointer.flush(frames(16)) == (SegmentEnded(0, 0, frames(10), frames(14), closes_utterance=True),)


def test_flush_forgets_speech_that_is_too_short_to_count() -> None:
    endpointer = Endpointer(CONFIG)
    assert run(endpointer, *speech(2)) == []
    assert endpointer.flush(frames(2)) == ()
    assert run(endpointer, *speech(2)) == []
    assert run(endpointer, *speech(1)) == [SegmentStarted(frames(2), frames(2))]


def test_with_manual_end_no_silence_ends_the_utterance() -> None:
    endpointer = Endpointer(CONFIG, manual_end=True)
    long_pause = round(MANUAL_PAUSE_S / FRAME_S) + 1
    events = run(endpointer, *speech(10), *silence(long_pause), *speech(200), *silence(long_pause))
    ended = [event for event in events if isinstance(event, SegmentEnded)]
    assert [event.closes_utterance for event in ended] == [False, False]
    run(endpointer, *speech(10))
    position = frames(10 + 2 * long_pause + 210)
    assert [event.closes_utterance for event in endpointer.flush(position) if isinstance(event, SegmentEnded)] == [True]


def test_with_manual_end_a_long_monologue_is_segments_that_fit_the_model() -> None:
    events = run(Endpointer(CONFIG, manual_end=True), *speech(round(70 / FRAME_S)))
    ended = [event for event in events if isinstance(event, SegmentEnded)]
    assert len(ended) >= 2
    assert not any(event.closes_utterance for event in ended)


def test_while_nobody_speaks_only_the_padding_is_kept() -> None:
    endpointer = Endpointer(CONFIG)
    run(endpointer, *silence(20_000))  # ten minutes and more
    assert endpointer.keep_from == frames(20_000 - 2)
    run(endpointer, *speech(10))
    assert endpointer.keep_from == frames(20_000 - 2)
    run(endpointer, *silence(30))
    assert endpointer.keep_from == frames(20_040 - 2)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 1.0])
def test_extreme_thresholds_are_borne(threshold: float) -> None:
    events = run(Endpointer(EndpointingConfig(speech_threshold=threshold)), *speech(50), *silence(50))
    assert bool(events) == (threshold < 0.9)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.4, 0.6, 0.95]), st.integers(1, 40)), max_size=30), st.booleans())
def test_segments_follow_one_another_without_overlap_and_each_start_has_its_end(
    runs: list[tuple[float, int]], manual_end: bool
) -> None:
    endpointer = Endpointer(CONFIG, manual_end=manual_end)
    now, kept_from, events = 0, 0, []
    for probability, count in runs:
        for _ in range(count):
            new = endpointer.feed(probability)
            now += FRAME_SAMPLES
            assert all(event.start >= kept_from for event in new if isinstance(event, SegmentStarted | SegmentEnded))
            kept_from = endpointer.keep_from
            events += new
    events += endpointer.flush(now)
    borders = [event for event in events if isinstance(event, SegmentStarted | SegmentEnded)]
    assert [type(event) for event in borders] == [SegmentStarted, SegmentEnded] * (len(borders) // 2)
    ends = [0]
    for event in borders:
        if isinstance(event, SegmentStarted):
            assert ends[-1] <= event.start <= event.onset
        else:
            assert event.start <= event.onset < event.speech_end <= event.end <= now
            ends.append(event.end)
