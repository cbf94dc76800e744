"""Audio samples in and out of bytes: decoding, encoding and resampling. No I/O, no gRPC.

Inside Parley audio is float32 in [-1, 1], mono, one-dimensional; everything else exists at the edges alone.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from services.common import g711
from services.common.audio_format import MAGIC_BYTES, AudioFormat, Encoding, refuse_container
from services.common.errors import UnsupportedAudioError

Samples: TypeAlias = npt.NDArray[np.float32]
_FULL_SCALE = np.float32(32768)


class Decoder:
    """Bytes of any chunking to float32 mono samples at the format's own rate; channels are averaged."""

    def __init__(self, audio_format: AudioFormat, field: str = "audio") -> None:
        self._format = audio_format
        self._field = field
        self._rest = b""
        self._head = b""

    def feed(self, data: bytes) -> Samples:
        """Decode what is whole; a part of a frame waits for the next chunk.

        Raises:
            UnsupportedAudioError: where the stream begins with a file header.
        """
        if len(self._head) < MAGIC_BYTES:  # a header may come in pieces too
            self._head += data[: MAGIC_BYTES - len(self._head)]
            refuse_container(self._head, self._field)
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % self._format.frame_bytes
        self._rest = data[whole:]
        return decode_frames(data[:whole], self._format)

    def finish(self) -> None:
        """Check that the stream ended at the end of a sample.

        Raises:
            UnsupportedAudioError: where it did not.
        """
        if self._rest:
            message = f"ends inside a sample: {len(self._rest)} of {self._format.frame_bytes} bytes"
            raise UnsupportedAudioError(message, field=self._field)


def decode_frames(data: bytes, audio_format: AudioFormat) -> Samples:
    """Whole frames to float32 mono samples; channels are averaged, values outside [-1, 1] and NaN are tamed."""
    encoding = audio_format.encoding
    if encoding is Encoding.PCM_S16LE:
        samples = np.frombuffer(data, "<i2").astype(np.float32) / _FULL_SCALE
    elif encoding is Encoding.PCM_F32LE:
        samples = (
            np.nan_to_num(np.frombuffer(data, "<f4"), nan=0.0, posinf=1.0, neginf=-1.0).clip(-1, 1).astype(np.float32)
        )
    elif encoding is Encoding.MULAW:
        samples = g711.decode_mulaw(data)
    else:
        samples = g711.decode_alaw(data)
    if audio_format.channels > 1:
        samples = samples.reshape(-1, audio_format.channels).mean(axis=1, dtype=np.float32)
    return samples


def decode(data: bytes, audio_format: AudioFormat, field: str = "audio") -> Samples:
    """A whole recording to float32 mono samples at the format's own rate.

    Raises:
        UnsupportedAudioError: for a file header or a part of a sample at the end.
    """
    decoder = Decoder(audio_format, field)
    samples = decoder.feed(data)
    decoder.finish()
    return samples


def encode(samples: Samples, audio_format: AudioFormat) -> bytes:
    """Float32 mono samples to bytes; several channels get the same samples. Decoded 16-bit audio comes back exactly.

    What is no number, as a model may compute it, is silence.
    """
    samples = np.nan_to_num(samples, nan=0.0).clip(-1.0, 1.0)
    if audio_format.channels > 1:
        samples = np.repeat(samples, audio_format.channels)
    encoding = audio_format.encoding
    if encoding is Encoding.PCM_S16LE:
        linear: npt.NDArray[np.int16] = np.rint(np.clip(samples * _FULL_SCALE, -32768, 32767)).astype("<i2")
        return linear.tobytes()
    if encoding is Encoding.PCM_F32LE:
        return samples.astype("<f4").tobytes()
    return g711.encode_mulaw(samples) if encoding is Encoding.MULAW else g711.encode_alaw(samples)


class Resampler:
    """Streaming rate conversion with soxr; equal rates pass through untouched."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ") if from_hz != to_hz else None
        )

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        """Convert a chunk; the filter holds some samples back until `last`."""
        if self._stream is None:
            return samples
        resampled: Samples = self._stream.resample_chunk(samples, last=last)
        return resampled


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Convert a whole recording."""
    return Resampler(from_hz, to_hz).feed(samples, last=True)
