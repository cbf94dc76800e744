"""Speech that breaks off in the middle of a segment goes on where it broke off, from another replica."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc

from orchestrator.domain import SessionConfig
from orchestrator.stages.calls import Timeouts
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import TextToSpeech, WordTiming
from services.common.channel import open_channel
from services.common.errors import UnavailableError

CHUNKS = [bytes([number, 0]) * 480 for number in range(1, 11)]
WORDS = ["one", "two", "three"]


def responses() -> Iterator[pb.SynthesizeResponse]:
    """All words, then all audio, as an engine that times its words sends them."""
    for second, word in enumerate(WORDS):
        start, end = Duration(seconds=second), Duration(seconds=second + 1)
        yield pb.SynthesizeResponse(word_timing=pb.WordTiming(text=word, start_offset=start, end_offset=end))
    for chunk in CHUNKS:
        yield pb.SynthesizeResponse(audio=pb.AudioChunk(data=chunk))


class Breaking(tts_service_pb2_grpc.TextToSpeechServiceServicer):
    """Breaks off after so many responses, at each call the next number; then never."""

    def __init__(self, *breaks: int) -> None:
        self._breaks = list(breaks)
        self.calls = 0

    async def Synthesize(self, request: Any, context: Any) -> AsyncIterator[pb.SynthesizeResponse]:
        self.calls += 1
        left = self._breaks.pop(0) if self._breaks else None
        for response in responses():
            if left == 0:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            if left is not None:
                left -= 1
            yield response


@contextlib.asynccontextmanager
async def serving(servicer: Breaking) -> AsyncIterator[TextToSpeech]:
    server = grpc.aio.server()
    tts_service_pb2_grpc.add_TextToSpeechServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield TextToSpeech(channel, Timeouts(work_s=10.0, call_s=5.0))
    finally:
        await server.stop(0)


async def said(tts: TextToSpeech, audio: list[bytes], words: list[str]) -> None:
    async for data in tts.synthesize(SessionConfig(), SpeechSegment("One two three.", "en"), ""):
        if isinstance(data, WordTiming):
            words.append(data.text)
        else:
            audio.append(data)


@pytest.mark.parametrize("after", range(4, len(CHUNKS) + len(WORDS)))
async def test_what_broke_off_goes_on_with_the_same_sample_and_the_next_word(after: int) -> None:
    audio: list[bytes] = []
    words: list[str] = []
    servicer = Breaking(after)
    async with serving(servicer) as tts:
        await said(tts, audio, words)
    assert (b"".join(audio), words, servicer.calls) == (b"".join(CHUNKS), WORDS, 2)


async def test_what_breaks_off_again_fails() -> None:
    audio: list[bytes] = []
    async with serving(Breaking(5, 7)) as tts:
        with pytest.raises(UnavailableError):
            await said(tts, audio, [])
    assert b"".join(audio) == b"".join(CHUNKS[:4]), "what the second had to say beyond the first was said"


async def test_a_failure_before_the_first_audio_is_not_asked_for_again_here() -> None:
    servicer = Breaking(1)
    async with serving(servicer) as tts:
        with pytest.raises(UnavailableError):
            await said(tts, [], [])
    assert servicer.calls == 1
