"""Events that are ready together go together, in their order."""

import asyncio

import pytest

from services.llm.domain import ReasoningDelta, SpeechSegment, Started, TextDelta, TurnEvent
from services.llm.relay import Relay

SEGMENT = SpeechSegment(0, "Hi.", 1)
FOREVER_S = 3600.0


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Reader:
    """Reads a relay and notes what came, and how it ended."""

    def __init__(self, relay: Relay) -> None:
        self.events: list[TurnEvent] = []
        self.task = asyncio.create_task(self._read(relay))

    async def _read(self, relay: Relay) -> None:
        async for event in relay:
            self.events.append(event)

    async def take(self) -> list[TurnEvent]:
        """What has come since the last time."""
        await settle()
        events, self.events = self.events, []
        return events


async def test_deltas_that_are_ready_together_are_one() -> None:
    relay = Relay(0.0)
    for text in ("a", "b", "c"):
        relay.put(TextDelta(text))
    reader = Reader(relay)
    assert await reader.take() == [TextDelta("abc")]
    relay.put(TextDelta("d"))
    assert await reader.take() == [TextDelta("d")]
    relay.close()
    await reader.task


async def test_the_order_of_kinds_is_kept() -> None:
    relay = Relay(0.0)
    events = [Started("r", "m", "b"), ReasoningDelta("x"), ReasoningDelta("y"), TextDelta("a"), TextDelta("b"), SEGMENT]
    for event in (*events, TextDelta("c")):
        relay.put(event)
    relay.close()
    reader = Reader(relay)
    await reader.task
    merged = [events[0], ReasoningDelta("xy"), TextDelta("ab"), SEGMENT, TextDelta("c")]
    assert reader.events == merged


async def test_where_segments_are_read_later_deltas_wait_for_them_and_the_first_does_not() -> None:
    relay = Relay(FOREVER_S)
    reader = Reader(relay)
    relay.put(TextDelta("a"))
    assert await reader.take() == [TextDelta("a")]
    relay.put(TextDelta("b"))
    relay.put(TextDelta("c"))
    assert await reader.take() == []
    relay.put(SEGMENT)
    assert await reader.take() == [TextDelta("bc"), SEGMENT]
    relay.put(TextDelta("d"))
    relay.close()
    assert await reader.take() == [TextDelta("d")]
    await reader.task


async def test_a_delta_that_waits_goes_after_a_while() -> None:
    relay = Relay(0.001)
    iterator = aiter(relay)
    for text in ("a", "b", "c"):
        relay.put(TextDelta(text))
        assert await anext(iterator) == TextDelta(text)


async def test_an_error_comes_after_what_was_before_it() -> None:
    relay = Relay(0.0)
    relay.put(TextDelta("a"))
    relay.close(ValueError("broken"))
    reader = Reader(relay)
    with pytest.raises(ValueError, match="broken"):
        await reader.task
    assert reader.events == [TextDelta("a")]


async def test_edge_19_a_reader_that_stops_gets_all_of_it_merged_when_it_goes_on() -> None:
    relay = Relay(0.0)
    iterator = aiter(relay)
    relay.put(TextDelta("a"))
    assert await anext(iterator) == TextDelta("a")
    for _ in range(1000):
        relay.put(TextDelta("b"))
    relay.close()
    assert [event async for event in iterator] == [TextDelta("b" * 1000)]
