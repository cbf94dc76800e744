"""G.711 against the tables of the standard library (Python 3.12 is the last to have them)."""

import warnings

import numpy as np
import pytest

from services.common import g711
from services.common.audio import decode_frames, encode
from services.common.audio_format import AudioFormat, Encoding

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    audioop = pytest.importorskip("audioop")

CODES = bytes(range(256))
LINEAR = np.arange(-32768, 32768).astype("<i2")
LAWS = [
    pytest.param(g711.decode_mulaw, g711.encode_mulaw, audioop.ulaw2lin, audioop.lin2ulaw, id="mulaw"),
    pytest.param(g711.decode_alaw, g711.encode_alaw, audioop.alaw2lin, audioop.lin2alaw, id="alaw"),
]


def samples(linear: np.ndarray) -> np.ndarray:
    return linear.astype(np.float32) / np.float32(32768)


@pytest.mark.parametrize(("decode", "_encode", "reference", "_reference_encode"), LAWS)
def test_every_code_means_what_the_standard_says(decode, _encode, reference, _reference_encode) -> None:
    expected = np.frombuffer(reference(CODES, 2), "<i2")
    np.testing.assert_array_equal(decode(CODES), samples(expected))


@pytest.mark.parametrize(("decode", "encode_", "_reference", "reference_encode"), LAWS)
def test_every_value_gets_a_code_as_near_as_the_reference_or_nearer(
    decode, encode_, _reference, reference_encode
) -> None:
    values = samples(LINEAR)
    ours = np.abs(decode(encode_(values)) - values)
    theirs = np.abs(decode(reference_encode(LINEAR.tobytes(), 2)) - values)
    assert (ours <= theirs).all()


@pytest.mark.parametrize(("decode", "encode_", "_reference", "_reference_encode"), LAWS)
def test_coding_what_was_decoded_changes_nothing(decode, encode_, _reference, _reference_encode) -> None:
    np.testing.assert_array_equal(decode(encode_(decode(CODES))), decode(CODES))


def test_silence_is_the_code_that_telephony_expects() -> None:
    zero = np.zeros(3, np.float32)
    assert g711.encode_mulaw(zero) == b"\xff\xff\xff"
    assert g711.encode_alaw(zero) == b"\xd5\xd5\xd5"


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_too_loud_samples_are_clipped(encoding: Encoding) -> None:
    phone = AudioFormat(encoding, 8_000)
    loud = decode_frames(encode(np.array([5.0, -5.0], np.float32), phone), phone)
    np.testing.assert_allclose(loud, [0.98, -0.98], atol=0.005)
