"""How a session is opened."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from parley.agent.v1 import agent_service_pb2 as pb

from orchestrator.servicer import FIRST_EVENT_S, _first
from services.common.errors import InvalidArgumentError


async def after(seconds: float) -> AsyncIterator[pb.ConverseRequest]:
    await asyncio.sleep(seconds)
    yield pb.ConverseRequest(event_id="first")


async def test_the_first_event_is_waited_for() -> None:
    first = await _first(after(FIRST_EVENT_S - 1))
    assert first is not None
    assert first.event_id == "first"


async def test_a_client_that_opens_a_session_and_says_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await _first(after(FIRST_EVENT_S + 1))
    assert caught.value.field == "session_update"
