"""The audio inside the STT service: float32 mono at 16 kHz, looked at in frames of 32 ms.

Positions are sample counts from the start of the stream; offsets on the wire are seconds from there.
"""

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 512


def to_samples(seconds: float) -> int:
    """Seconds as a number of samples."""
    return round(seconds * SAMPLE_RATE_HZ)


def to_seconds(samples: int) -> float:
    """A number of samples as seconds."""
    return samples / SAMPLE_RATE_HZ
