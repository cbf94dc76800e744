"""From the engine's thread to the event loop: a sequence's events, a step's at a time."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator

from services.llm.backends.batching.engine import Engine
from services.llm.backends.batching.sequence import Failed, Prefilled, Sequence, SequenceEvent, Token


class Courier:
    """Takes a step's events to the loop with one call: waking it for each costs more than the events do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[tuple[EventStream, SequenceEvent]] = []

    def add(self, stream: "EventStream", event: SequenceEvent) -> None:
        """From the engine's thread: an event for the next delivery."""
        with self._lock:
            self._events.append((stream, event))

    def deliver(self) -> None:
        """From the engine's thread: all events so far go to the loop."""
        with self._lock:
            events, self._events = self._events, []
        for loop in {stream.loop for stream, _ in events}:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_hand_over, [item for item in events if item[0].loop is loop])


class EventStream:
    """The events of one sequence, on the loop that it is made on."""

    def __init__(self, courier: Courier) -> None:
        self.loop = asyncio.get_running_loop()
        self._courier = courier
        self._events: list[SequenceEvent] = []
        self._ready = asyncio.Event()

    def put(self, event: SequenceEvent) -> None:
        """From the engine's thread."""
        self._courier.add(self, event)

    def receive(self, event: SequenceEvent) -> None:
        """On the loop."""
        self._events.append(event)
        self._ready.set()

    async def take(self) -> list[SequenceEvent]:
        """What has come, at least one event."""
        await self._ready.wait()
        self._ready.clear()
        events, self._events = self._events, []
        return events


async def run(engine: Engine, sequence: Sequence, stream: EventStream) -> AsyncGenerator[list[SequenceEvent], None]:
    """Submit a sequence whose sink is `stream`, and yield its events as they come, several where several are there.

    Closing the generator takes the sequence out of its batch before the next step.

    Raises:
        ParleyError: what ended the sequence.
    """
    engine.submit(sequence)
    over = False
    try:
        while not over:
            events = await stream.take()
            for event in events:
                if isinstance(event, Failed):
                    over = True
                    raise event.error
                over = over or isinstance(event, Prefilled) or (isinstance(event, Token) and event.last)
            yield events
    finally:
        if not over:
            sequence.cancelled = True
            engine.wake()


def _hand_over(events: list[tuple[EventStream, SequenceEvent]]) -> None:
    for stream, event in events:
        stream.receive(event)
