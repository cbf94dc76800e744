"""What raw audio is: encoding, rate, channels. Plain data; the samples themselves are handled in `audio.py`."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from services.common.errors import UnsupportedAudioError

MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 8_000, 48_000, 8
_CONTAINERS = {
    b"RIFF": "a WAV file",
    b"RIFX": "a WAV file",
    b"OggS": "an Ogg file",
    b"fLaC": "a FLAC file",
    b"ID3": "an MP3 file",
}
MAGIC_BYTES = max(map(len, _CONTAINERS))
"""Bytes that `refuse_container` needs to know any of them."""


class Encoding(Enum):
    """How a sample lies in bytes."""

    PCM_S16LE = "pcm_s16le"
    PCM_F32LE = "pcm_f32le"
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of one channel."""
        return {Encoding.PCM_S16LE: 2, Encoding.PCM_F32LE: 4}.get(self, 1)


@dataclass(frozen=True)
class AudioFormat:
    """Raw audio: encoding, samples a second of each channel (hertz), interleaved channels."""

    encoding: Encoding
    sample_rate_hz: int
    channels: int = 1

    @cached_property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.encoding.sample_bytes * self.channels

    @cached_property
    def bytes_per_second(self) -> int:
        """Bytes of one second of audio."""
        return self.frame_bytes * self.sample_rate_hz

    def validate(self, field: str) -> None:
        """Refuse what no service can handle.

        Raises:
            UnsupportedAudioError: naming the field below `field` at fault.
        """
        if not MIN_RATE_HZ <= self.sample_rate_hz <= MAX_RATE_HZ:
            message = f"{self.sample_rate_hz} is outside {MIN_RATE_HZ} to {MAX_RATE_HZ}"
            raise UnsupportedAudioError(message, field=f"{field}.sample_rate_hertz")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise UnsupportedAudioError(
                f"{self.channels} is outside 1 to {MAX_CHANNELS}", field=f"{field}.channel_count"
            )


def refuse_container(head: bytes, field: str) -> None:
    """Refuse bytes that begin like an audio file: raw audio carries no header.

    Raises:
        UnsupportedAudioError: naming what the bytes look like.
    """
    for magic, name in _CONTAINERS.items():
        if head.startswith(magic):
            raise UnsupportedAudioError(f"looks like {name}; send raw samples without a header", field=field)
