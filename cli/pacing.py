"""Sends at the speed of speech."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

FRAME_S = 0.02
"""Seconds of audio in a frame, as telephony and WebRTC send them."""
T = TypeVar("T")


async def paced(
    frames: Iterable[T],
    begun: float,
    *,
    frame_s: float = FRAME_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[T]:
    """Yield frame number k when a microphone that was opened at `begun` would have it: at its end.

    Each frame has a deadline of its own, so that lateness does not add up: after a delay the frames that are due
    come at once, until the schedule is met again.
    """
    for number, frame in enumerate(frames, start=1):
        wait_s = begun + number * frame_s - clock()
        if wait_s > 0:
            await sleep(wait_s)
        yield frame
