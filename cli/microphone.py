"""The sound card, by sounddevice: imported for `--mic` and for playing alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from parley_client import AudioDelta, Playback

from cli.errors import CliError
from services.common.audio_format import AudioFormat

_MAX_QUEUED_FRAMES = 500


def require_sound_card() -> Any:
    """The library, for those who want to know early.

    Raises:
        CliError: where it, or the PortAudio below it, is missing.
    """
    try:
        import sounddevice
    except ImportError:
        raise CliError("the sound card needs the sounddevice package: pip install 'parley-voice[mic]'") from None
    except OSError:
        raise CliError("the sound card needs the PortAudio library: apt install libportaudio2") from None
    return sounddevice


def _opened(kind: str, what: str, **options: Any) -> Any:
    """A running stream.

    Raises:
        CliError: where there is no such device.
    """
    library = require_sound_card()
    try:
        stream = getattr(library, kind)(dtype="int16", **options)
        stream.start()
    except (library.PortAudioError, ValueError):
        raise CliError(f"there is no sound card with a {what} here") from None
    return stream


class _Device:
    _stream: Any

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


class Microphone(_Device):
    """Audio from the sound card, in frames.

    Args:
        audio_format: 16 bit, at the rate wanted.
        frame_s: seconds of a frame.
    """

    def __init__(self, audio_format: AudioFormat, frame_s: float) -> None:
        self._format = audio_format
        self._frame_s = frame_s
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_MAX_QUEUED_FRAMES)

    def __enter__(self) -> "Microphone":
        loop = asyncio.get_running_loop()

        def captured(data: Any, *_: object) -> None:  # called on PortAudio's own thread
            loop.call_soon_threadsafe(self._captured, bytes(data))

        self._stream = _opened(
            "RawInputStream",
            "microphone",
            samplerate=self._format.sample_rate_hz,
            channels=self._format.channels,
            blocksize=round(self._frame_s * self._format.sample_rate_hz),
            callback=captured,
        )
        return self

    async def frames(self) -> AsyncIterator[bytes]:
        """What is heard, as it is heard."""
        while True:
            yield await self._queue.get()

    def _captured(self, frame: bytes) -> None:
        if self._queue.full():  # the network stands still: what is newest counts
            self._queue.get_nowait()
        self._queue.put_nowait(frame)


class Speaker(_Device):
    """Audio to the sound card.

    Args:
        audio_format: 16 bit, at the rate of the audio.
        playback: what is played; one of its own, for `play`, where a session has none.
    """

    def __init__(self, audio_format: AudioFormat, playback: Playback | None = None) -> None:
        self._format = audio_format
        self._playback = playback or Playback(audio_format.sample_rate_hz, audio_format.frame_bytes)
        self._idle = asyncio.Event()
        self._sounding = False

    def __enter__(self) -> "Speaker":
        self._loop = asyncio.get_running_loop()
        self._stream = _opened(
            "RawOutputStream",
            "loudspeaker",
            samplerate=self._format.sample_rate_hz,
            channels=self._format.channels,
            callback=self._wanted,
        )
        return self

    def play(self, data: bytes) -> None:
        """Play after what is waiting."""
        self._playback.add(AudioDelta("", data))
        self._idle.clear()

    async def drained(self) -> None:
        """Wait until everything has been played, what lies in the sound card's own buffer included."""
        await self._idle.wait()
        self._stream.stop()

    def _wanted(self, buffer: Any, *_: object) -> None:
        """Called on PortAudio's own thread: fill the buffer, with silence where nothing is waiting."""
        size = len(buffer)
        data = self._playback.read(size)
        ended = len(data) < size and (self._sounding or bool(data))
        self._sounding = len(data) == size
        buffer[:] = data.ljust(size, b"\0")
        if ended:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._played)

    def _played(self) -> None:
        if not self._playback.waiting_s:
            self._idle.set()
