"""Audio files in and out, by soundfile: WAV, FLAC, OGG and MP3 of any rate and channel count."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import soundfile

from cli.errors import CliError
from services.common.audio import Resampler, Samples, decode_frames, encode
from services.common.audio_format import MAX_RATE_HZ, MIN_RATE_HZ, AudioFormat, Encoding

_BLOCK_S = 1.0
_SUBTYPES = {
    Encoding.PCM_S16LE: "PCM_16",
    Encoding.PCM_F32LE: "FLOAT",
    Encoding.MULAW: "ULAW",
    Encoding.ALAW: "ALAW",
}


class SpeechFile:
    """A recording, read piece by piece as 16 bit mono at its own rate (8 to 48 kHz: others are resampled).

    Raises:
        CliError: where there is no such file, or it is empty, or no audio.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        own_rate: int = self._file.samplerate
        rate = min(max(own_rate, MIN_RATE_HZ), MAX_RATE_HZ)
        self.format = AudioFormat(Encoding.PCM_S16LE, rate)
        self.duration_s: float = self._file.frames / own_rate
        if not self._file.frames:
            self._file.close()
            raise CliError(f"{path}: has no audio in it")

    def __enter__(self) -> "SpeechFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """The whole recording, about a second at a time.

        Raises:
            CliError: where the file is damaged further on.
        """
        own_rate = self._file.samplerate
        resampler = Resampler(own_rate, self.format.sample_rate_hz)
        while True:
            samples = self._read(round(own_rate * _BLOCK_S))
            yield encode(resampler.feed(samples, last=not len(samples)), self.format)
            if not len(samples):
                return

    def frames(self, frame_s: float) -> Iterator[bytes]:
        """The whole recording in frames of equal length; the last one is filled up with silence."""
        size = round(frame_s * self.format.sample_rate_hz) * self.format.frame_bytes
        rest = b""
        for block in self.blocks():
            rest += block
            whole = len(rest) - len(rest) % size
            for begin in range(0, whole, size):
                yield rest[begin : begin + size]
            rest = rest[whole:]
        if rest:
            yield rest.ljust(size, b"\0")

    def silence(self, frame_s: float) -> bytes:
        """A frame of silence in the same format."""
        return bytes(round(frame_s * self.format.sample_rate_hz) * self.format.frame_bytes)

    def _read(self, frames: int) -> Samples:
        try:
            channels = self._file.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            raise CliError(f"{self.path}: is damaged; it cannot be read to its end") from None
        samples: Samples = channels.mean(axis=1, dtype="float32")
        return samples


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that a result could not be written.

    Raises:
        CliError: where the folder is missing or the path is a folder.
    """
    if path.is_dir():
        raise CliError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise CliError(f"cannot write {path}: there is no folder {path.parent}")


def write_wav(path: Path, data: bytes, audio_format: AudioFormat) -> None:
    """Write raw audio as a WAV file of the same encoding, rate and channels.

    Raises:
        CliError: where the file cannot be written.
    """
    rate, channels, encoding = audio_format.sample_rate_hz, audio_format.channels, audio_format.encoding
    whole = data[: len(data) - len(data) % audio_format.frame_bytes]
    try:
        with soundfile.SoundFile(path, "w", rate, channels, _SUBTYPES[encoding], format="WAV") as file:
            if encoding is Encoding.PCM_S16LE:
                file.buffer_write(whole, dtype="int16")
            else:
                interleaved = AudioFormat(encoding, rate)
                file.write(decode_frames(whole, interleaved).reshape(-1, channels))
    except (soundfile.SoundFileError, OSError) as error:
        raise CliError(f"cannot write {path}: {_cause(error)}") from None


def _opened(path: Path) -> Any:
    if path.is_dir():
        raise CliError(f"{path}: is a folder, not an audio file")
    try:
        if not path.stat().st_size:
            raise CliError(f"{path}: the file is empty")
        with path.open("rb"):
            return soundfile.SoundFile(path)
    except OSError as error:
        raise CliError(f"{path}: {error.strerror or error}") from None
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name like x.raw, which says nothing of rate and format
        raise CliError(f"{path}: is not an audio file that can be read (WAV, FLAC, OGG, MP3)") from None


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "error_string", None) or error)
