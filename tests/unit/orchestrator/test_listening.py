"""How a session's audio goes to the recogniser."""

import asyncio
from typing import Any

from parley.stt.v1 import stt_service_pb2 as pb

from orchestrator.domain import SessionConfig
from orchestrator.stages.speech_to_text import Listening

FRAME = bytes(640)
"""20 ms in the default format."""


class RecordedCall:
    """Remembers what is written."""

    def __init__(self) -> None:
        self.written: list[pb.StreamingTranscribeRequest] = []
        self.done = False
        self.busy = False

    async def write(self, request: pb.StreamingTranscribeRequest) -> None:
        assert not self.busy, "gRPC takes one message at a time"
        self.busy = True
        await asyncio.sleep(0)
        self.written.append(request)
        self.busy = False

    async def done_writing(self) -> None:
        self.done = True

    @property
    def audio_bytes(self) -> list[int]:
        return [len(request.audio) for request in self.written if request.WhichOneof("request") == "audio"]


def listening() -> tuple[RecordedCall, Listening]:
    call: Any = RecordedCall()
    return call, Listening(call, SessionConfig(), pauses=False)


async def hear(audio: Listening, data: bytes, *, idle: bool = False) -> None:
    if audio.add_audio(data, idle=idle):
        await audio.send_audio()


async def test_small_frames_go_on_whenever_they_complete_a_step_of_voice_detection() -> None:
    call, audio = listening()
    for _ in range(8):  # 160 ms: steps end at 32, 64, 96, 128 and 160 ms
        await hear(audio, FRAME)
    assert call.audio_bytes == [1280, 1280, 640, 1280, 640]
    assert call.written[0].WhichOneof("request") == "config"


async def test_while_nobody_speaks_several_steps_go_on_together_and_with_speech_what_is_left_goes_at_once() -> None:
    call, audio = listening()
    for _ in range(20):
        await hear(audio, FRAME, idle=True)
    assert call.audio_bytes == [6400, 6400]
    await hear(audio, FRAME, idle=True)
    await hear(audio, FRAME)
    assert call.audio_bytes == [6400, 6400, 1280]


async def test_large_messages_go_on_at_once() -> None:
    call, audio = listening()
    await hear(audio, bytes(3200))
    await hear(audio, bytes(3200))
    assert call.audio_bytes == [3200, 3200]


async def test_what_is_left_goes_before_the_end_of_an_utterance_and_of_the_stream() -> None:
    call, audio = listening()
    await hear(audio, FRAME)
    audio.add_end()
    await audio.send_audio()
    assert [request.WhichOneof("request") for request in call.written] == ["config", "audio", "force_end_of_utterance"]
    await hear(audio, bytes(2))
    await audio.finish()
    assert call.audio_bytes == [640, 2]
    assert call.done


async def test_what_was_added_goes_in_order_and_in_messages_of_a_size_that_every_server_takes() -> None:
    call, audio = listening()
    for piece in (bytes(50_000), bytes(50_000), None, bytes(2), None):
        audio.add_end() if piece is None else audio.add_audio(piece)
    await audio.send_audio()
    kinds = [request.WhichOneof("request") for request in call.written]
    end = "force_end_of_utterance"
    assert kinds == ["config", "audio", "audio", end, "audio", end]
    assert call.audio_bytes == [60_000, 40_000, 2]


async def test_two_who_send_at_a_time_do_not_write_at_a_time() -> None:
    call, audio = listening()
    audio.add_audio(bytes(2))
    first = asyncio.create_task(audio.send_audio())
    await asyncio.sleep(0)
    audio.add_audio(bytes(4))
    await asyncio.gather(first, audio.send_audio())
    assert call.audio_bytes == [2, 4]
