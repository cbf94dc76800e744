"""Silence at the ends of synthesized speech: less of it before, so that speech starts early, and no clicks. Pure."""

import numpy as np

from services.common.audio import Samples

_FRAME_S = 0.005
_SILENT_RMS = 0.0005
"""-66 dB of full scale: below any speech sound, above what a vocoder leaves in its pauses."""
_FADE_S = 0.004

LEAD_KEPT_S = 0.02
LONGEST_LEAD_S = 0.03
"""A lead of up to this many seconds stays; a longer one is cut to `LEAD_KEPT_S`, a hair before the first sound."""


def trim(samples: Samples, rate_hz: int, longest_tail_s: float) -> Samples:
    """Cut a long silence before speech to 20 ms and the one after it to `longest_tail_s`; cut ends are faded.

    Speech itself is never touched. Audio that is silent throughout comes back empty.
    """
    first, end = _sound(samples, rate_hz)
    if first == end:
        return samples[:0]
    lead, tail = round(LEAD_KEPT_S * rate_hz), round(longest_tail_s * rate_hz)
    begin = first - lead if first > LONGEST_LEAD_S * rate_hz else 0
    trimmed = samples[begin : end + tail].copy()
    fade = round(_FADE_S * rate_hz)
    tail_kept = len(trimmed) - (end - begin)
    # The fades lie in the silence that was kept; only audio that breaks off in mid-sound is faded itself.
    fade_in = min(fade, first - begin)
    fade_out = min(fade, tail_kept or fade)
    if fade_in:
        trimmed[:fade_in] *= np.linspace(0, 1, fade_in, endpoint=False, dtype=np.float32)
    trimmed[len(trimmed) - fade_out :] *= np.linspace(1, 0, fade_out, dtype=np.float32)
    return trimmed


def _sound(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """First and last-plus-one sample of the frames that hold sound; equal where none does."""
    frame = max(1, round(_FRAME_S * rate_hz))
    padded = np.pad(samples, (0, -len(samples) % frame))
    loud = np.flatnonzero(np.mean(np.square(padded.reshape(-1, frame)), axis=1) > _SILENT_RMS**2)
    if not len(loud):
        return 0, 0
    return int(loud[0]) * frame, min(len(samples), (int(loud[-1]) + 1) * frame)
