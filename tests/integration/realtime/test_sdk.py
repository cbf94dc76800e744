"""OpenAI's own Python client, unchanged."""

import pytest

from tests.support.realtime import VOICE, sdk
from tests.support.realtime_turns import three_turns
from tests.support.servers import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_three_turns_with_an_interruption(orchestrator: RunningServer) -> None:
    async with sdk(orchestrator) as client:
        turns = await three_turns(client, VOICE, VOICE, speed=4.0)
    assert turns.said == ["This is a fake transcript."] * 2
    assert [answer.status for answer in turns.answers] == ["cancelled", "completed", "completed"]
    assert turns.answers[0].status_details.reason == "turn_detected"
    heard, whole = (answer.output[0].content[0].transcript for answer in turns.answers[:2])
    assert whole.startswith(heard)
    assert len(heard) < len(whole)
    assert "fake" in turns.answers[2].output[0].content[0].text
    assert turns.answers[2].usage.input_tokens > turns.answers[1].usage.input_tokens > 0
