"""OpenAI's own Python client, unchanged, and recorded speech."""

import pytest
import soundfile

from services.common.audio import encode, resample
from services.common.audio_format import AudioFormat, Encoding
from tests.conftest import SAMPLES
from tests.support.realtime import sdk
from tests.support.realtime_turns import RATE_HZ, three_turns
from tests.support.servers import RunningServer

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.models, pytest.mark.timeout(300)]


def recording(name: str) -> bytes:
    samples, rate = soundfile.read(SAMPLES / name, dtype="float32")
    return encode(resample(samples, rate, RATE_HZ), AudioFormat(Encoding.PCM_S16LE, RATE_HZ))


async def test_three_turns_with_an_interruption(orchestrator: RunningServer) -> None:
    async with sdk(orchestrator) as client:
        turns = await three_turns(client, recording("austen_0930.wav"), recording("austen_0870.wav"), cancel=True)
    assert "amiable" in turns.said[0]
    assert "prudently" in turns.said[1]
    assert [answer.status for answer in turns.answers[:2]] == ["cancelled", "cancelled"]
    reasons = [answer.status_details.reason for answer in turns.answers[:2]]
    assert reasons == ["turn_detected", "client_cancelled"]
    assert turns.answers[2].output[0].content[0].text
