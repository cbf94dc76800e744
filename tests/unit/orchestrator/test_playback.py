"""What the client has played, what it has heard of the text, and what is sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playback import Playback
from services.common.audio_format import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.PCM_S16LE, 8000)


def audio(seconds: float) -> bytes:
    return bytes(round(seconds * 8000) * 2)


def spoken(*segments: tuple[str, float], at: float = 10.0) -> Playback:
    playback = Playback(FORMAT)
    for text, audio_s in segments:
        playback.begin_segment(text)
        playback.receive(audio(audio_s))
        playback.end_segment()
    send(playback, at)
    return playback


def send(playback: Playback, now: float) -> list[bytes]:
    sent = []
    for chunk in playback.to_send():
        playback.left(chunk.end_s, now)
        sent.append(chunk.audio)
    return sent


def test_nothing_is_heard_before_the_first_audio() -> None:
    assert Playback(FORMAT).played_s(now=5.0) == 0.0
    assert Playback(FORMAT).heard(0.0) == ""


def test_the_clock_runs_from_the_first_audio_and_stops_at_what_was_sent() -> None:
    playback = spoken(("One two three four.", 2.0))
    assert playback.played_s(now=11.5) == pytest.approx(1.5)
    assert playback.played_s(now=60.0) == pytest.approx(2.0)
    assert playback.unplayed_s(now=10.5) == pytest.approx(1.5)


def test_what_has_not_left_is_not_played() -> None:
    playback = Playback(FORMAT)
    playback.begin_segment("One.")
    playback.receive(audio(1.0))
    assert playback.played_s(now=20.0) == 0.0
    assert playback.unplayed_s(now=20.0) == pytest.approx(1.0)


def test_audio_that_comes_too_late_is_not_played_before_it_comes() -> None:
    playback = spoken(("One.", 1.0))
    playback.begin_segment("Two.")
    playback.receive(audio(1.0))
    send(playback, 15.0)  # four seconds of silence
    assert playback.played_s(now=15.5) == pytest.approx(1.5)


def test_a_client_that_does_not_play_as_it_reads_has_played_what_it_took() -> None:
    playback = Playback(FORMAT, paced=False)
    playback.begin_segment("One.")
    playback.receive(audio(1.0))
    assert playback.unplayed_s(now=10.0) == pytest.approx(1.0)
    send(playback, 10.0)
    assert playback.unplayed_s(now=10.0) == 0.0


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
    playback.receive(audio(1.0))
    assert playback.heard(2.0) == "Ten letters abcd efgh"


def test_audio_that_was_held_is_sent_again_from_where_the_client_stopped() -> None:
    playback = spoken(("One two three four.", 2.0))
    playback.hold(now=10.5)
    assert send(playback, 11.0) == []
    assert playback.played_s(now=99.0) == pytest.approx(0.5)
    playback.resume()
    assert len(b"".join(send(playback, 20.0))) == len(audio(1.5))
    assert playback.played_s(now=20.5) == pytest.approx(1.0)
    assert playback.played_s(now=99.0) == pytest.approx(2.0)


def test_audio_that_comes_while_it_is_held_waits() -> None:
    playback = Playback(FORMAT)
    playback.hold(now=1.0)
    playback.begin_segment("One.")
    playback.receive(audio(1.0))
    assert send(playback, 2.0) == []
    playback.resume()
    assert send(playback, 3.0) == [audio(1.0)]


def test_the_client_knows_better_where_it_stopped() -> None:
    playback = spoken(("One two three four.", 2.0))
    playback.hold(now=11.5)
    playback.stopped_at(1.0)
    assert playback.heard_by(now=20.0) == "One two"
    playback.resume()
    assert len(b"".join(send(playback, 20.0))) == len(audio(1.0))
    assert playback.heard_by(now=99.0) == "One two three four."


def test_the_client_cannot_have_played_more_than_it_got() -> None:
    playback = spoken(("One two three four.", 2.0))
    playback.begin_segment("Five.")
    playback.receive(audio(1.0))
    playback.stopped_at(60.0)
    assert playback.heard_by(now=10.0) == "One two three four."


def test_a_report_counts_while_nothing_is_held_too() -> None:
    playback = spoken(("One two three four.", 2.0))
    playback.stopped_at(1.0)
    assert playback.heard_by(now=12.0) == "One two"


@given(st.lists(st.tuples(st.text("ab ", min_size=1, max_size=30), st.floats(0.1, 5)), max_size=5), st.floats(0, 30))
def test_what_was_heard_grows_with_time_and_is_a_prefix_of_what_was_said(
    segments: list[tuple[str, float]], at: float
) -> None:
    playback = spoken(*segments)
    whole = " ".join(text for text, _ in segments if text)
    heard = playback.heard(at)
    assert whole.startswith(heard)
    assert len(heard) <= len(playback.heard(at + 1.0))


@given(st.lists(st.sampled_from(["receive", "send", "hold", "resume", "wait", "report"]), max_size=60))
def test_however_it_is_held_the_client_plays_every_sample_once(events: list[str]) -> None:
    """Samples are numbered, and the client does what the contract says: it drops what it has not played when held."""
    playback, now, number = Playback(FORMAT), 0.0, 0
    playback.begin_segment("text")
    client = bytearray()
    for event in [*events, "resume", "send"]:
        now += 0.03
        if event == "receive":
            playback.receive(b"".join((number + at).to_bytes(2, "little") for at in range(400)))
            number += 400
        elif event == "hold":
            playback.hold(now)
            del client[round(playback.played_s(now) * 8000) * 2 :]
        elif event == "report" and playback.held:
            reported_s = max(0.0, playback.played_s(now) - 0.1)
            playback.stopped_at(reported_s)
            del client[round(reported_s * 8000) * 2 :]
        elif event == "resume":
            playback.resume()
        elif event == "send":
            for chunk in playback.to_send():
                del client[round(chunk.offset_s * 8000) * 2 :]
                playback.left(chunk.end_s, now)
                client += chunk.audio
        elif event == "wait":
            now += 0.5
    samples = [int.from_bytes(client[at : at + 2], "little") for at in range(0, len(client), 2)]
    assert samples == list(range(number))
