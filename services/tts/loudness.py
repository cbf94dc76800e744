"""How loud speech is, and the gain that makes it as loud as it should be. Pure.

Integrated loudness of mono audio after ITU-R BS.1770-4 and EBU R 128. A voice is measured once, before it is heard, and
then has one gain: a level that followed the speech would need to hear what is yet to come.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.audio import Samples

TARGET_LUFS = -20.0
"""Of every voice: as loud as one speaks on a telephone, with room for its peaks."""
_BLOCK_S, _STEP_S = 0.4, 0.1
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_OFFSET = -0.691
_KNEE = 0.8
_LARGEST_GAIN = 10.0
_EVEN_LU = 1.5
"""That a sentence may be louder or quieter than its voice: emphasis stays, but a word of piper was 5 LU louder."""


def gain(samples: Samples, rate_hz: int) -> float:
    """The factor that brings a voice, heard in `samples`, to the target."""
    level = lufs(samples, rate_hz)
    return min(10 ** ((TARGET_LUFS - level) / 20), _LARGEST_GAIN) if math.isfinite(level) else 1.0


def even_gain(samples: Samples, rate_hz: int, factor: float) -> float:
    """The gain of a voice for one sentence of it, which it leads to the target within 1.5 LU."""
    own = gain(samples, rate_hz)
    margin = 10 ** (_EVEN_LU / 20)
    return min(max(factor, own / margin), own * margin)


def levelled(samples: Samples, factor: float) -> Samples:
    """The samples times a gain, in place of peaks that would be cut off rounder ones."""
    louder = samples * np.float32(factor)
    over = np.abs(louder) - _KNEE
    if len(louder) and over.max() > 0:
        round_peaks = _KNEE + (1 - _KNEE) * np.tanh(over / (1 - _KNEE))
        louder = np.where(over > 0, np.copysign(round_peaks, louder), louder).astype(np.float32)
    return louder


def lufs(samples: Samples, rate_hz: int) -> float:
    """Integrated loudness; -inf where all is silence."""
    block, step = round(_BLOCK_S * rate_hz), round(_STEP_S * rate_hz)
    padded = np.pad(samples, (0, max(0, block - len(samples))))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, block)[::step]
    frequencies = np.fft.rfftfreq(block, 1 / rate_hz)
    # A block's power after the filter is the sum of its spectrum's, weighted: no filter needs to run.
    weights = _k_weighting(frequencies) * np.where((frequencies == 0) | (frequencies == rate_hz / 2), 1, 2)
    powers = np.square(np.abs(np.fft.rfft(blocks, axis=1))) @ weights / block**2
    loud = powers[powers > 10 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET) / 10)]
    if not len(loud):
        return -math.inf
    loud = loud[loud > loud.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return float(_OFFSET + 10 * math.log10(loud.mean()))


def _k_weighting(frequencies: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Squared magnitude of the K-weighting: a shelf above 1.7 kHz (+4 dB) and a high-pass at 38 Hz.

    The analogue filters behind the coefficients that BS.1770 gives for 48 kHz.
    """
    s = 1j * frequencies
    f0, q, high = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    shelf = (high * s**2 + middle * f0 / q * s + f0**2) / (s**2 + f0 / q * s + f0**2)
    f1, q1 = 38.13547087602444, 0.5003270373238773
    high_pass = s**2 / (s**2 + f1 / q1 * s + f1**2)
    squared: npt.NDArray[np.float64] = np.square(np.abs(shelf * high_pass))
    return squared
