"""Hands a turn's events to its reader: what is ready together goes together."""

import asyncio
from collections.abc import AsyncIterator

from services.llm.domain import ReasoningDelta, TextDelta, TurnEvent


class Relay:
    """A queue of one writer and one reader that merges neighbouring deltas.

    The first delta and all that is not a delta go at once; later deltas may wait `hold_s` seconds for company, since
    whoever wants speech segments reads segments. The writer never waits: an answer is bounded by its limit of tokens.

    Args:
        hold_s: seconds that a delta may wait; 0 sends each as soon as the reader is ready for it.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._loop = asyncio.get_running_loop()
        self._events: list[TurnEvent] = []
        self._delta: type[TextDelta] | type[ReasoningDelta] = TextDelta
        self._texts: list[str] = []
        self._ready = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._error: BaseException | None = None
        self._any_delta = False

    def put(self, event: TurnEvent) -> None:
        """Hand an event over."""
        if not isinstance(event, TextDelta | ReasoningDelta):
            self._seal()
            self._events.append(event)
            self._wake()
            return
        if self._texts and type(event) is not self._delta:
            self._seal()
        self._delta = type(event)
        self._texts.append(event.text)
        if self._hold_s and self._any_delta:
            if self._timer is None and not self._ready.is_set():
                self._timer = self._loop.call_later(self._hold_s, self._wake)
            return
        self._any_delta = True
        self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing follows, or `error` does."""
        self._closed = True
        self._error = error
        self._wake()

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            self._seal()
            events, self._events = self._events, []
            for event in events:
                yield event
            if self._closed and not self._events and not self._texts:
                if self._error is not None:
                    raise self._error
                return

    def _seal(self) -> None:
        """The deltas gathered so far are one event."""
        if self._texts:
            self._events.append(self._delta("".join(self._texts)))
            self._texts.clear()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ready.set()
