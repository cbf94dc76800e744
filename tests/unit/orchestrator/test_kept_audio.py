"""What is kept of a session's audio until its words are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import kept_audio
from orchestrator.kept_audio import KeptAudio
from services.common.audio_format import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.PCM_S16LE, 16_000)


def seconds(count: float, value: int = 0) -> bytes:
    return np.full(round(count * FORMAT.sample_rate_hz), value, np.int16).tobytes()


def test_what_was_said_before_goes_in_pieces_of_some_size() -> None:
    kept = KeptAudio(FORMAT, start_s=10.0)
    kept.add(seconds(1, 1) + seconds(1, 2))
    kept.forget_before(10.2)
    assert kept.start_s == 10.0
    kept.forget_before(11.0)
    assert kept.start_s == 11.0
    assert kept.pieces() == [seconds(1, 2)]


def test_ends_of_turns_stand_where_the_client_gave_them() -> None:
    kept = KeptAudio(FORMAT, 0.0)
    kept.turn_ended()
    kept.add(seconds(1, 1))
    kept.turn_ended()
    kept.add(seconds(1, 2))
    assert kept.pieces() == [b"", None, seconds(1, 1), None, seconds(1, 2)]
    kept.forget_turn()
    kept.forget_turn()
    assert kept.pieces() == [seconds(1, 2)]
    assert kept.start_s == 1.0
    kept.forget_turn()
    assert kept.pieces() == [seconds(1, 2)], "there is no other turn"


def test_a_turn_that_was_ended_stays_until_its_words_are_known() -> None:
    kept = KeptAudio(FORMAT, 0.0)
    kept.add(seconds(1, 1))
    kept.turn_ended()
    kept.add(seconds(5, 2))
    kept.forget_before(4.0)
    assert kept.pieces() == [b"", None, seconds(5, 2)]


def test_where_it_is_too_much_it_is_not_whole_until_what_is_missing_is_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept_audio, "MAX_BYTES", FORMAT.bytes_per_second)
    kept = KeptAudio(FORMAT, 0.0)
    kept.add(seconds(1))
    assert kept.whole
    kept.add(seconds(1, 1))
    assert not kept.whole
    assert 1.0 <= kept.start_s < 1.01
    kept.forget_before(0.5)
    assert not kept.whole
    kept.forget_before(1.5)
    assert kept.whole
    assert kept.pieces() == [seconds(0.5, 1)]


@given(st.lists(st.one_of(st.binary(max_size=99), st.floats(0, 0.01), st.none()), max_size=40))
def test_it_begins_with_a_whole_sample_and_ends_with_the_last(steps: list[bytes | float | None]) -> None:
    stereo = AudioFormat(Encoding.PCM_F32LE, 8_000, 2)
    kept, came, ends = KeptAudio(stereo, 0.0), b"", 0
    for step in steps:
        if isinstance(step, bytes):
            kept.add(step)
            came += step
        elif step is None:
            kept.turn_ended()
            ends += 1
        elif ends and step < 0.005:
            kept.forget_turn()
            ends -= 1
        else:
            kept.forget_before(kept.start_s + 50 * step)
    pieces = kept.pieces()
    left = b"".join(piece for piece in pieces if piece)
    assert came.endswith(left)
    assert (len(came) - len(left)) % stereo.frame_bytes == 0
    assert kept.start_s == pytest.approx((len(came) - len(left)) / stereo.bytes_per_second)
    assert pieces.count(None) == ends
