"""The bounded queue of events on their way to one client."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from orchestrator.domain import AudioDelta, ServerEvent, TextDelta

_AUDIO_EVENTS = 64
"""Audio events that may wait for the client; the TTS stage then waits too, and with it the TTS server."""


class Outbox:
    """Events in order: text deltas that wait are merged, audio waits for room, audio of a cut response is dropped."""

    def __init__(self) -> None:
        self._events: deque[ServerEvent] = deque()
        self._audio_waiting = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    def put(self, event: ServerEvent) -> None:
        """Add an event that is small."""
        last = self._events[-1] if self._events else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta) and last.response_id == event.response_id:
            self._events[-1] = TextDelta(event.response_id, event.item_id, last.text + event.text)
        else:
            self._events.append(event)
        self._ready.set()

    async def put_audio(self, event: AudioDelta) -> None:
        """Add audio once there is room."""
        while self._audio_waiting >= _AUDIO_EVENTS:
            self._room.clear()
            await self._room.wait()
        self._audio_waiting += 1
        self._events.append(event)
        self._ready.set()

    def drop_audio(self, response_id: str) -> float:
        """Drop the audio of a response that has not left; returns the offset in seconds at which it was cut, or -1."""
        dropped = [
            event for event in self._events if isinstance(event, AudioDelta) and event.response_id == response_id
        ]
        if not dropped:
            return -1.0
        gone = set(map(id, dropped))
        self._events = deque(event for event in self._events if id(event) not in gone)
        self._audio_waiting -= len(dropped)
        self._room.set()
        return dropped[0].offset_s

    def close(self) -> None:
        """End the iteration once what waits has been taken."""
        self._closed = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[ServerEvent]:
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, AudioDelta):
                    self._audio_waiting -= 1
                    self._room.set()
                yield event
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()
