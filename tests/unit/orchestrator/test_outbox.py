"""The queue of events to a client."""

import asyncio

from orchestrator.domain import AudioDelta, Failure, ResponseCreated, ServerEvent, TextDelta
from orchestrator.outbox import _AUDIO_EVENTS, Outbox
from services.common.errors import UpstreamError


async def drained(outbox: Outbox) -> list[ServerEvent]:
    outbox.close()
    return [event async for event in outbox]


async def test_text_deltas_that_wait_together_are_one_message() -> None:
    outbox = Outbox()
    for text in ("Hel", "lo ", "there"):
        outbox.put(TextDelta("r", "i", text))
    assert await drained(outbox) == [TextDelta("r", "i", "Hello there")]


async def test_text_is_not_merged_over_another_event_or_response() -> None:
    outbox = Outbox()
    events = [TextDelta("r", "i", "a"), ResponseCreated("s", "j"), TextDelta("s", "j", "b"), TextDelta("t", "k", "c")]
    for event in events:
        outbox.put(event)
    assert await drained(outbox) == events


async def test_audio_waits_for_a_client_that_does_not_read_and_text_does_not() -> None:
    outbox = Outbox()
    for number in range(_AUDIO_EVENTS):
        await outbox.put_audio(AudioDelta("r", "i", b"a", number))
    blocked = asyncio.create_task(outbox.put_audio(AudioDelta("r", "i", b"z", 99.0)))
    await asyncio.sleep(0)
    assert not blocked.done()
    outbox.put(Failure(UpstreamError("x")))
    async for _ in outbox:
        break
    await blocked
    events = await drained(outbox)
    assert [type(event) for event in events[-2:]] == [Failure, AudioDelta]


async def test_audio_of_a_cut_response_is_dropped_and_the_cut_is_known() -> None:
    outbox = Outbox()
    for offset in (0.0, 0.1, 0.2):
        await outbox.put_audio(AudioDelta("r", "i", b"a", offset))
    async for _ in outbox:
        break
    await outbox.put_audio(AudioDelta("other", "i", b"b", 0.0))
    assert outbox.drop_audio("r") == 0.1
    assert outbox.drop_audio("r") == -1.0
    assert await drained(outbox) == [AudioDelta("other", "i", b"b", 0.0)]


async def test_dropping_audio_makes_room() -> None:
    outbox = Outbox()
    for _ in range(_AUDIO_EVENTS):
        await outbox.put_audio(AudioDelta("r", "i", b"a", 0.0))
    blocked = asyncio.create_task(outbox.put_audio(AudioDelta("s", "i", b"b", 0.0)))
    await asyncio.sleep(0)
    outbox.drop_audio("r")
    await blocked
    assert await drained(outbox) == [AudioDelta("s", "i", b"b", 0.0)]
