"""The queue of events on their way to one client."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from orchestrator.domain import AudioDelta, ServerEvent, TextDelta
from services.common.errors import ParleyError


class Outbox:
    """Events in order: text deltas that wait are merged, audio of a response that was held or cut is dropped.

    It is bounded by those who fill it: the audio that a client has not taken holds the TTS stage up (see `Output`), and
    a client that takes nothing is dropped (see `watchdog.py`).

    Args:
        on_audio_left: called with each piece of audio as the client takes it.
    """

    def __init__(self, on_audio_left: Callable[[AudioDelta], None] = lambda _: None) -> None:
        self._on_audio_left = on_audio_left
        self._events: deque[ServerEvent] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._error: ParleyError | None = None

    def put(self, event: ServerEvent) -> None:
        """Add an event."""
        if self._error is not None:
            return
        last = self._events[-1] if self._events else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta) and last.response_id == event.response_id:
            self._events[-1] = replace(last, text=last.text + event.text)
        else:
            self._events.append(event)
        self._ready.set()

    def drop_audio(self, response_id: str) -> None:
        """Drop the audio of a response that has not left."""
        self._events = deque(
            event for event in self._events if not (isinstance(event, AudioDelta) and event.response_id == response_id)
        )

    def close(self) -> None:
        """End the iteration once what waits has been taken."""
        self._closed = True
        self._ready.set()

    def fail(self, error: ParleyError) -> None:
        """End the iteration with an error, at once."""
        self._error = error
        self._events.clear()
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[ServerEvent]:
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, AudioDelta):
                    self._on_audio_left(event)
                yield event
            if self._error is not None:
                raise self._error
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()
