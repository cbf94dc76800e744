"""A microphone for tests and benchmarks: silence at the speed of speech, and what is to be said."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import soundfile

from tests.support.stack import Conversation

RATE_HZ = 16_000
FRAME_S = 0.02
FRAME_BYTES = round(RATE_HZ * FRAME_S) * 2


def recording(path: Path) -> bytes:
    """A recording's samples as PCM16 bytes."""
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE_HZ
    return bytes(samples.tobytes())


class Microphone:
    """Sends at the speed of speech: silence, and what is to be said."""

    def __init__(self, client: Conversation) -> None:
        self._client = client
        self._pending = bytearray()
        self._due = 0.0

    def say(self, audio: bytes) -> float:
        """Say this next; returns the loop's time at which its first sample is spoken."""
        self._pending += audio
        return self._due

    async def run(self) -> None:
        """Ends by cancellation."""
        loop = asyncio.get_running_loop()
        self._due = loop.time()
        while True:
            frame = bytes(self._pending[:FRAME_BYTES])
            del self._pending[:FRAME_BYTES]
            await self._client.append(frame.ljust(FRAME_BYTES, b"\0"))
            self._due += FRAME_S
            await asyncio.sleep(max(0.0, self._due - loop.time()))


@contextlib.asynccontextmanager
async def open_microphone(client: Conversation) -> AsyncIterator[Microphone]:
    """A microphone that is on while the block runs."""
    microphone = Microphone(client)
    sending = asyncio.create_task(microphone.run())
    try:
        yield microphone
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
