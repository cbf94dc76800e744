"""G.711 mu-law and A-law, by table (ITU-T Recommendation G.711, tables 1a to 2b)."""

import numpy as np
import numpy.typing as npt

_FULL_SCALE = np.float32(32768)


def _expand_mulaw() -> npt.NDArray[np.int16]:
    """The 256 linear values (16 bit) of mu-law: inverted bits, sign, 3-bit segment, 4-bit step, bias 132."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 132) << ((code & 0x70) >> 4)) - 132
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _expand_alaw() -> npt.NDArray[np.int16]:
    """The 256 linear values (16 bit) of A-law: even bits inverted, sign, 3-bit segment, 4-bit step."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, (step + 264) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _nearest(linear: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """For each 16-bit value, offset by 32768, the code whose value is nearest."""
    # Mu-law has two zeros; silence is the positive one, 0xFF, which is found first from the end.
    values, from_end = np.unique(linear[::-1].astype(np.int32), return_index=True)
    borders = (values[:-1] + values[1:]) // 2
    return (255 - from_end)[np.searchsorted(borders, np.arange(-32768, 32768), side="right")].astype(np.uint8)


_MULAW, _ALAW = _expand_mulaw(), _expand_alaw()
_TO_MULAW, _TO_ALAW = _nearest(_MULAW), _nearest(_ALAW)


def decode_mulaw(data: bytes) -> npt.NDArray[np.float32]:
    """Mu-law bytes to float32 samples in [-1, 1]."""
    return _MULAW[np.frombuffer(data, np.uint8)].astype(np.float32) / _FULL_SCALE


def decode_alaw(data: bytes) -> npt.NDArray[np.float32]:
    """A-law bytes to float32 samples in [-1, 1]."""
    return _ALAW[np.frombuffer(data, np.uint8)].astype(np.float32) / _FULL_SCALE


def encode_mulaw(samples: npt.NDArray[np.float32]) -> bytes:
    """Float32 samples in [-1, 1] to mu-law bytes."""
    return _TO_MULAW[_index(samples)].tobytes()


def encode_alaw(samples: npt.NDArray[np.float32]) -> bytes:
    """Float32 samples in [-1, 1] to A-law bytes."""
    return _TO_ALAW[_index(samples)].tobytes()


def _index(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    linear: npt.NDArray[np.int32] = np.rint(np.clip(samples * _FULL_SCALE, -32768, 32767)).astype(np.int32)
    return linear + 32768
