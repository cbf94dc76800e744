"""The TTS service on gRPC."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.tts import convert
from services.tts.synthesizer import Synthesizer


class TextToSpeechServicer(pb_grpc.TextToSpeechServiceServicer):
    """Passes requests to the synthesizer and its events to the client."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self._synthesizer = synthesizer

    async def Synthesize(
        self, request: pb.SynthesizeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.SynthesizeResponse]:
        """Speak one segment; cancelling the call stops the work within a sentence."""
        async with contextlib.aclosing(self._synthesizer.synthesize(convert.request(request))) as events:
            async for event in events:
                yield convert.response(event)

    async def ListVoices(
        self, request: pb.ListVoicesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListVoicesResponse:
        """List the voices, all or those of a language."""
        voices = self._synthesizer.voices(request.language_code)
        return pb.ListVoicesResponse(voices=[convert.voice(voice) for voice in voices])
