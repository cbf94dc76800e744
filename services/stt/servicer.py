"""The gRPC surface of the STT service."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from parley.stt.v1 import stt_service_pb2 as pb
from parley.stt.v1 import stt_service_pb2_grpc as pb_grpc

from services.common.access.access import count_audio
from services.common.audio_format import AudioFormat
from services.common.errors import InvalidArgumentError
from services.stt import convert
from services.stt.listener import ForceEnd
from services.stt.transcriber import Transcriber

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class SpeechToTextServicer(pb_grpc.SpeechToTextServiceServicer):
    """Args:
    transcriber: does the work.
    idle_timeout_s: without a message for so many seconds a stream of messages is taken to have ended; 0 is never.
    """

    def __init__(self, transcriber: Transcriber, idle_timeout_s: float) -> None:
        self._transcriber = transcriber
        self._idle_timeout_s = idle_timeout_s or None

    async def Transcribe(self, request: pb.TranscribeRequest, context: Context) -> AsyncIterator[pb.TranscribeResponse]:
        """One utterance, whole."""
        transcriber = self._transcriber
        options = convert.transcription_options(request.config, "config", transcriber.info, transcriber.language)
        count_audio(len(request.audio) / options.audio_format.bytes_per_second)
        async with aclosing(transcriber.transcribe(options, request.audio)) as events:
            async for event in events:
                yield convert.recording_response(event)

    async def StreamingTranscribe(
        self, request_iterator: AsyncIterator[pb.StreamingTranscribeRequest], context: Context
    ) -> AsyncIterator[pb.StreamingTranscribeResponse]:
        """Live audio."""
        transcriber = self._transcriber
        requests = _until_idle(request_iterator, self._idle_timeout_s)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("request") != "config":
            raise InvalidArgumentError("the first request must carry it", field="config")
        options = convert.stream_options(
            first.config, "config", transcriber.info, transcriber.language, transcriber.endpointing
        )
        async with aclosing(
            transcriber.listen(options, _incoming(requests, options.transcription.audio_format))
        ) as events:
            async for event in events:
                yield convert.streaming_response(event)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """What is loaded."""
        return pb.ListModelsResponse(models=[convert.model_message(self._transcriber.info)])


async def _until_idle(
    requests: AsyncIterator[pb.StreamingTranscribeRequest], timeout_s: float | None
) -> AsyncIterator[pb.StreamingTranscribeRequest]:
    """Who keeps a stream open and says nothing would keep its place from others."""
    try:
        while True:
            async with asyncio.timeout(timeout_s):
                request = await anext(requests)
            yield request
    except StopAsyncIteration:
        return
    except TimeoutError:
        log.info("a live stream without messages is ended", extra={"idle_s": timeout_s})


async def _incoming(
    requests: AsyncIterator[pb.StreamingTranscribeRequest], audio_format: AudioFormat
) -> AsyncIterator[bytes | ForceEnd]:
    """Audio and control messages; all that may follow the first request."""
    async for request in requests:
        kind = request.WhichOneof("request")
        if kind == "audio":
            count_audio(len(request.audio) / audio_format.bytes_per_second)
            yield request.audio
        elif kind == "force_end_of_utterance":
            yield ForceEnd()
        elif kind == "config":
            raise InvalidArgumentError("only the first request may carry it", field="config")
        else:
            raise InvalidArgumentError("one of audio and force_end_of_utterance is required", field="request")
