"""A conversation with all that may happen in one, with a stack on fakes: for tests of what is told of it."""

import numpy as np
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.microphone import RATE_HZ, open_microphone
from tests.support.stack import conversation

_VOICE = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)


def noise(seconds: float) -> bytes:
    """What the fake's detector takes for speech."""
    samples = np.random.default_rng(0).normal(0, 8000, round(seconds * RATE_HZ)).clip(-32767, 32767)
    return bytes(samples.astype(np.int16).tobytes())


async def converse(address: str) -> None:
    """An answer that is interrupted while it is spoken, one that is begun at a pause for nothing, and one that follows.

    The answers must be long: more than two seconds of speech.
    """
    async with conversation(address, turn_detection=_VOICE) as client, open_microphone(client) as microphone:
        microphone.say(noise(0.6))
        await client.until("response_output_audio_delta")
        microphone.say(noise(1.5) + bytes(2 * RATE_HZ // 4) + noise(0.6))
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_CANCELLED
        await client.until("response_output_audio_delta")
