"""A WAV file as it arrives: its header, then its samples. Pure and incremental.

RIFF chunks: `fmt ` tells the format, `data` holds the samples, all others are passed over. Who writes a file to a pipe
cannot know its length beforehand: 0 and lengths beyond what a RIFF file can hold mean "until the end".
"""

import struct

import numpy as np

from services.common.audio import Decoder, Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import ParleyError, UpstreamError

_CHUNK = struct.Struct("<4sI")
_FMT = struct.Struct("<HHIIHH")
_RIFF_BYTES = 12
_LONGEST_HEADER = 1 << 16
_UNKNOWN_LENGTHS = (0, 0x7FFFF000)
"""A length of 0, or from here on, was written before there was any."""
_EXTENSIBLE, _SUB_FORMAT_AT = 0xFFFE, 24
_ENCODINGS = {(1, 16): Encoding.PCM_S16LE, (3, 32): Encoding.PCM_F32LE, (6, 8): Encoding.ALAW, (7, 8): Encoding.MULAW}
"""By format tag and bits of a sample."""


class WavStream:
    """Reads one WAV file from parts of any length.

    Args:
        source: what sends it, for messages: "the speech provider".
    """

    def __init__(self, source: str) -> None:
        self.audio_format: AudioFormat | None = None
        """Known once the header is there."""
        self._source = source
        self._head = b""
        self._decoder: Decoder | None = None
        self._left: int | None = None  # bytes of samples still to come, where the header tells

    def feed(self, data: bytes) -> Samples:
        """The samples in a part, mono.

        Raises:
            UpstreamError: it is no WAV file, or one with samples of an unknown kind.
        """
        if self._decoder is None:
            self._head += data
            begin = self._read_header()
            if begin is None:
                return np.zeros(0, np.float32)
            data, self._head = self._head[begin:], b""
        assert self._decoder is not None
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return self._decoder.feed(data)

    def finish(self) -> None:
        """Nothing follows.

        Raises:
            UpstreamError: the file is not whole.
        """
        if self._decoder is None or self._left:
            raise UpstreamError(f"{self._source} broke off", retry_after_s=1.0)

    def _read_header(self) -> int | None:
        """Where the samples begin; None where the header is not whole yet."""
        head = self._head
        if not head.startswith(b"RIFF"[: len(head)]) or (len(head) >= _RIFF_BYTES and head[8:12] != b"WAVE"):
            raise UpstreamError(f"{self._source} sends no WAV file")
        at = _RIFF_BYTES
        while at + _CHUNK.size <= len(head):
            name, length = _CHUNK.unpack_from(head, at)
            at += _CHUNK.size
            if name == b"data":
                if self.audio_format is None:
                    raise UpstreamError(f"{self._source} sends a WAV file without a format")
                self._decoder = Decoder(self.audio_format)
                self._left = length if _UNKNOWN_LENGTHS[0] < length < _UNKNOWN_LENGTHS[1] else None
                return at
            if name == b"fmt ":
                if at + length > len(head):
                    return None
                self.audio_format = self._format(head[at : at + length])
            at += length + length % 2  # chunks begin at even places
        if len(head) > _LONGEST_HEADER:
            raise UpstreamError(f"{self._source} sends a WAV file without samples")
        return None

    def _format(self, fmt: bytes) -> AudioFormat:
        unknown = UpstreamError(f"{self._source} sends samples of an unknown kind")
        if len(fmt) < _FMT.size:
            raise unknown
        tag, channels, rate_hz, _, _, bits = _FMT.unpack_from(fmt)
        if tag == _EXTENSIBLE and len(fmt) >= _SUB_FORMAT_AT + 2:
            tag = int.from_bytes(fmt[_SUB_FORMAT_AT : _SUB_FORMAT_AT + 2], "little")
        encoding = _ENCODINGS.get((tag, bits))
        if encoding is None:
            raise unknown
        audio_format = AudioFormat(encoding, rate_hz, channels)
        try:
            audio_format.validate("audio_format")
        except ParleyError:
            raise unknown from None
        return audio_format
