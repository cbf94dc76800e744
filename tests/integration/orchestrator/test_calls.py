"""The clients of the services over real gRPC: what becomes of a call that nobody reads on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from parley.stt.v1 import stt_service_pb2, stt_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from orchestrator.stages.calls import responses


class Endless(stt_service_pb2_grpc.SpeechToTextServiceServicer, tts_service_pb2_grpc.TextToSpeechServiceServicer):
    """Answers once, then waits for ever; notes what ended the wait."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[type[BaseException]] = asyncio.Queue()

    async def Synthesize(self, request: Any, context: Any) -> AsyncIterator[tts_service_pb2.SynthesizeResponse]:
        async for _ in self._wait():
            yield tts_service_pb2.SynthesizeResponse()

    async def StreamingTranscribe(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[stt_service_pb2.StreamingTranscribeResponse]:
        async for _ in self._wait():
            yield stt_service_pb2.StreamingTranscribeResponse()

    async def _wait(self) -> AsyncIterator[None]:
        try:
            yield
            await asyncio.Event().wait()
        except BaseException as end:
            self.ended.put_nowait(type(end))
            raise


@pytest.fixture
async def endless() -> AsyncIterator[tuple[Endless, grpc.aio.Channel]]:
    servicer, server = Endless(), grpc.aio.server()
    stt_service_pb2_grpc.add_SpeechToTextServiceServicer_to_server(servicer, server)
    tts_service_pb2_grpc.add_TextToSpeechServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, channel
    await server.stop(0)


@pytest.mark.parametrize("kind", ["server streaming", "bidirectional"])
async def test_edge_20_leaving_the_loop_over_a_calls_responses_ends_the_work_at_the_server(
    endless: tuple[Endless, grpc.aio.Channel], kind: str
) -> None:
    servicer, channel = endless
    call: Any
    if kind == "bidirectional":
        call = stt_service_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
        await call.write(stt_service_pb2.StreamingTranscribeRequest())
    else:
        call = tts_service_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(tts_service_pb2.SynthesizeRequest())
    async with contextlib.aclosing(responses(call, "service")) as events:
        async for _ in events:
            break
    assert await servicer.ended.get() in (asyncio.CancelledError, GeneratorExit)
    assert call.cancelled()


async def test_edge_20_a_call_whose_loop_is_only_left_runs_on(endless: tuple[Endless, grpc.aio.Channel]) -> None:
    servicer, channel = endless
    call: Any = tts_service_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(tts_service_pb2.SynthesizeRequest())
    async for _ in call:
        break
    assert not call.done(), "why `responses` cancels"
    assert servicer.ended.empty()
    call.cancel()
    await servicer.ended.get()
