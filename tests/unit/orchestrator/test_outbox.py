"""The queue of events to a client."""

from orchestrator.domain import AudioDelta, Failure, ResponseCreated, ServerEvent, TextDelta
from orchestrator.outbox import Outbox
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


async def test_audio_of_a_cut_response_is_dropped_and_all_else_stays() -> None:
    outbox = Outbox()
    for offset in (0.0, 0.1, 0.2):
        outbox.put(AudioDelta("r", "i", b"a", offset))
    outbox.put(Failure(UpstreamError("x")))
    outbox.put(AudioDelta("other", "i", b"b", 0.0))
    outbox.drop_audio("r")
    assert [type(event) for event in await drained(outbox)] == [Failure, AudioDelta]


async def test_audio_is_reported_as_the_client_takes_it() -> None:
    left: list[AudioDelta] = []
    outbox = Outbox(left.append)
    for number in range(3):
        outbox.put(AudioDelta("r", "i", b"a", number))
    assert left == []
    async for event in outbox:
        assert left == [event]
        break
