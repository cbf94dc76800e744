"""Orchestrators that do what cannot be timed with real ones."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
from parley.agent.v1 import agent_service_pb2 as pb

from services.common.errors import OverloadedError
from services.common.status import to_status
from services.common.wire import duration, seconds

RATE_HZ = 24_000
SPOKEN = (np.arange(2 * RATE_HZ) % 30_011).astype("<i2").tobytes()
"""Two seconds in which no frame is like another."""
_DELTA_BYTES = 2 * RATE_HZ // 10
Requests = AsyncIterator[pb.ConverseRequest]
Responses = AsyncIterator[pb.ConverseResponse]
_CREATED = pb.ConverseResponse(session_created=pb.SessionCreated(session_id="s", conversation_id="c"))
_RESPONSE = pb.ConverseResponse(response_created=pb.ResponseCreated(response_id="r", item_id="i"))
_VOICE = pb.ConverseResponse(input_audio_buffer_speech_started=pb.InputAudioBufferSpeechStarted(item_id="u"))
_NOTHING = pb.ConverseResponse(
    input_audio_transcription_completed=pb.InputAudioTranscriptionCompleted(item_id="u", transcript="")
)
_DONE = pb.ConverseResponse(
    response_done=pb.ResponseDone(response_id="r", status=pb.RESPONSE_STATUS_COMPLETED, transcript="Tea.")
)


class Coughed:
    """The user coughs in the middle of an answer, which goes on from where the client stopped: `stopped_s`."""

    def __init__(self) -> None:
        self.stopped_s: list[float] = []

    async def converse(self, requests: Requests, _: Any) -> Responses:
        """The script."""
        await _event(requests, "session_update")
        yield _CREATED
        yield _RESPONSE
        for delta in _speech(0):
            yield delta
        for _frame in range(30):
            await _event(requests, "input_audio_buffer_append")
        yield _VOICE
        truncate = (await _event(requests, "conversation_item_truncate")).conversation_item_truncate
        assert truncate.item_id == "i"
        self.stopped_s.append(seconds(truncate.audio_end))
        for delta in _speech(round(self.stopped_s[0] * RATE_HZ) * 2):
            yield delta
        yield _NOTHING
        yield _DONE
        async for _request in requests:
            pass


async def full(requests: Requests, context: Any) -> Responses:
    """Refuses the session."""
    await _event(requests, "session_update")
    await context.abort_with_status(to_status(OverloadedError("too many sessions", retry_after_s=1.0)))
    yield _CREATED


async def dying(requests: Requests, context: Any) -> Responses:
    """Goes away in the middle of a session."""
    await _event(requests, "session_update")
    yield _CREATED
    for _frame in range(10):
        await _event(requests, "input_audio_buffer_append")
    await context.abort(grpc.StatusCode.UNAVAILABLE, "the process is gone")


def _speech(begin: int) -> list[pb.ConverseResponse]:
    return [
        pb.ConverseResponse(
            response_output_audio_delta=pb.ResponseOutputAudioDelta(
                response_id="r", item_id="i", audio=SPOKEN[at : at + _DELTA_BYTES], offset=duration(at / (2 * RATE_HZ))
            )
        )
        for at in range(begin, len(SPOKEN), _DELTA_BYTES)
    ]


async def _event(requests: Requests, kind: str) -> pb.ConverseRequest:
    async for request in requests:
        if request.WhichOneof("event") == kind:
            return request
    raise AssertionError(f"no {kind} came")
