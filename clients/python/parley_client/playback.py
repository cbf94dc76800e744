"""What is to be played, and how far it has been played: pure bookkeeping, for any thread."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from parley_client.events import AudioDelta


class Position(NamedTuple):
    """How far an item was played when it was stopped."""

    item_id: str
    played_s: float


@dataclass
class _Chunk:
    item_id: str
    begin: int
    data: bytes


class Playback:
    """The audio between the session and a loudspeaker, which reads it at the speed of speech.

    Args:
        sample_rate_hz: samples a second of each channel.
        frame_bytes: bytes of one sample of every channel.
    """

    def __init__(self, sample_rate_hz: int, frame_bytes: int = 2) -> None:
        self._bytes_per_second = sample_rate_hz * frame_bytes
        self._frame_bytes, self._rate_hz = frame_bytes, sample_rate_hz
        self._lock = threading.Lock()
        self._waiting: deque[_Chunk] = deque()
        self._end = ("", 0)
        """Of what came last: its item, and the bytes of that item."""

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that have not been read."""
        with self._lock:
            return sum(len(chunk.data) for chunk in self._waiting) / self._bytes_per_second

    def add(self, delta: AudioDelta) -> None:
        """Play this where its offset says: after what came before, or in place of what came before from there on."""
        with self._lock:
            begin = self._end[1] if delta.item_id == self._end[0] else 0
            if delta.offset_s is not None:
                begin = round(delta.offset_s * self._rate_hz) * self._frame_bytes
                self._cut(delta.item_id, begin)
            self._waiting.append(_Chunk(delta.item_id, begin, delta.data))
            self._end = (delta.item_id, begin + len(delta.data))

    def read(self, size: int) -> bytes:
        """The next bytes to play, fewer where no more are there: they count as played."""
        parts = []
        with self._lock:
            while size > 0 and self._waiting:
                chunk = self._waiting[0]
                part, rest = chunk.data[:size], chunk.data[size:]
                parts.append(part)
                size -= len(part)
                chunk.begin, chunk.data = chunk.begin + len(part), rest
                if not rest:
                    self._waiting.popleft()
        return b"".join(parts)

    def stop(self) -> Position | None:
        """Drop what has not been read; how far the item was played that was cut, None where none was."""
        with self._lock:
            if not self._waiting:
                return None
            cut = self._waiting[0]
            self._waiting.clear()
        return Position(cut.item_id, cut.begin / self._bytes_per_second)

    def _cut(self, item_id: str, begin: int) -> None:
        """Of this item nothing from there on waits any more."""
        while self._waiting and self._waiting[-1].item_id == item_id:
            last = self._waiting[-1]
            last.data = last.data[: max(0, begin - last.begin)]
            if last.data:
                return
            self._waiting.pop()
