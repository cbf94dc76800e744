"""What is played, in which order, and how far it was played when it is stopped."""

from parley_client import AudioDelta, Playback, Position

RATE_HZ = 1000
"""So that a millisecond is two bytes."""


def playing(*deltas: AudioDelta) -> Playback:
    playback = Playback(RATE_HZ)
    for delta in deltas:
        playback.add(delta)
    return playback


def audio(letter: bytes, ms: int, offset_s: float | None = None, item: str = "i") -> AudioDelta:
    return AudioDelta("r", letter * 2 * ms, offset_s, item)


def test_audio_is_read_in_order_and_no_more_than_there_is() -> None:
    playback = playing(audio(b"a", 2, 0.0), audio(b"b", 2))
    assert playback.waiting_s == 0.004
    assert [playback.read(6), playback.read(6), playback.read(6)] == [b"aaaabb", b"bb", b""]


def test_stopping_says_how_far_the_item_was_played_and_drops_the_rest() -> None:
    playback = playing(audio(b"a", 100, 0.0), audio(b"b", 100, 0.1))
    playback.read(2 * 130)
    assert playback.stop() == Position("i", 0.13)
    assert playback.read(2) == b""


def test_where_all_was_played_there_is_nothing_to_report() -> None:
    playback = playing(audio(b"a", 10, 0.0))
    playback.read(20)
    assert playback.stop() is None
    assert Playback(RATE_HZ).stop() is None


def test_after_a_false_interruption_positions_go_on_from_the_offset() -> None:
    playback = playing(audio(b"a", 100, 0.0))
    playback.read(2 * 40)
    playback.stop()
    playback.add(audio(b"a", 60, 0.04))
    playback.read(2 * 10)
    assert playback.stop() == Position("i", 0.05)


def test_what_comes_again_replaces_what_waits() -> None:
    playback = playing(audio(b"a", 2, 0.0), audio(b"b", 2, 0.002), audio(b"c", 2, 0.001))
    assert playback.read(100) == b"aacccc"


def test_the_end_of_one_item_is_played_before_the_next_and_each_has_its_own_position() -> None:
    playback = playing(audio(b"a", 10, 0.0, "i"), audio(b"b", 10, 0.0, "j"))
    playback.read(2 * 9)
    assert playback.stop() == Position("i", 0.009)
    playback = playing(audio(b"a", 10, 0.0, "i"), audio(b"b", 10, 0.0, "j"))
    assert playback.read(2 * 12) == b"a" * 20 + b"b" * 4
    assert playback.stop() == Position("j", 0.002)
