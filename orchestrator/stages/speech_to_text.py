"""The client of the speech-to-text service."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import grpc
from parley.stt.v1 import stt_service_pb2, stt_service_pb2_grpc

from orchestrator.domain import (
    ListeningEvent,
    SessionConfig,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptEvent,
    TranscriptUpdated,
)
from orchestrator.stages.calls import Timeouts, check_name, explained, responses
from services.common.channel import id_metadata
from services.common.errors import ModelNotFoundError
from services.common.wire import audio_format_message, seconds

if TYPE_CHECKING:
    _StreamingCall = grpc.aio.StreamStreamCall[
        stt_service_pb2.StreamingTranscribeRequest, stt_service_pb2.StreamingTranscribeResponse
    ]

NAME = "speech-to-text"
_STEP_S = 0.032
"""Seconds of a step of voice detection: smaller messages would bring nothing sooner, and each one costs."""
_IDLE_STEPS = 6
"""Steps in a message while nobody speaks: the beginning of speech is then known up to 160 ms later, its end as ever."""


_MAX_BYTES = 60_000
"""Of audio in a message."""
_END = stt_service_pb2.StreamingTranscribeRequest(force_end_of_utterance=stt_service_pb2.ForceEndOfUtterance())


class SpeechToText:
    """Recognition of one utterance, or of live audio."""

    def __init__(self, channel: grpc.aio.Channel, timeouts: Timeouts) -> None:
        self._stub = stt_service_pb2_grpc.SpeechToTextServiceStub(channel)
        self._timeouts = timeouts

    def listen(self, config: SessionConfig, *, pauses: bool) -> "Listening":
        """Open live recognition of the session's audio; with `pauses`, what was said up to each is told as well."""
        return Listening(self._stub.StreamingTranscribe(metadata=id_metadata()), config, pauses=pauses)

    async def transcribe(self, config: SessionConfig, audio: bytes) -> AsyncGenerator[TranscriptEvent, None]:
        """Transcripts of one utterance: interim ones, then the final one."""
        request = stt_service_pb2.TranscribeRequest(config=_transcription_config(config), audio=audio)
        call = self._stub.Transcribe(request, timeout=self._timeouts.work_s, metadata=id_metadata())
        async for response in responses(call, NAME):
            if response.HasField("transcript"):
                yield _transcript(response.transcript)

    async def check_model(self, name: str) -> None:
        """Raise ModelNotFoundError for a name that the service does not have; empty is its default."""
        if name:
            with explained(NAME):
                listed = await self._stub.ListModels(
                    stt_service_pb2.ListModelsRequest(), timeout=self._timeouts.call_s, metadata=id_metadata()
                )
            check_name(name, (model.name for model in listed.models), "session.stt_model", ModelNotFoundError)


class Listening:
    """Live recognition of one session: audio in, events of the service out."""

    def __init__(self, call: "_StreamingCall", config: SessionConfig, *, pauses: bool) -> None:
        self._call = call
        self._cancelled = False
        self._step_bytes = int(config.input_format.bytes_per_second * _STEP_S)
        self._unsent: list[bytes | None] = []
        self._sending = asyncio.Lock()
        self._received_bytes = self._sent_bytes = 0
        self._opening: stt_service_pb2.StreamingConfig | None = stt_service_pb2.StreamingConfig(
            config=_transcription_config(config),
            endpointing=config.turn_detection.endpointing,
            manual_end=config.turn_detection.manual,
            enable_pauses=pauses,
        )

    def add_audio(self, audio: bytes, *, idle: bool = False) -> bool:
        """Take audio; returns whether it is to be sent now, since it completes a step of the service's, or several of
        them where the session is idle.
        """
        self._unsent.append(audio)
        self._received_bytes += len(audio)
        steps = self._received_bytes // self._step_bytes - self._sent_bytes // self._step_bytes
        return steps >= (_IDLE_STEPS if idle else 1)

    def add_end(self) -> None:
        """The utterance ends here: its final transcript is asked for with the audio before."""
        self._unsent.append(None)

    async def send_audio(self) -> None:
        """Pass on all that was added, in order; waits where the service does not keep up."""
        async with self._sending:
            unsent, self._unsent = self._unsent, []
            self._sent_bytes = self._received_bytes
            for ends, pieces in itertools.groupby(unsent, lambda piece: piece is None):
                if ends:
                    for _ in pieces:
                        await self._send(_END)
                else:
                    audio = b"".join(piece for piece in pieces if piece)
                    for at in range(0, len(audio), _MAX_BYTES):
                        request = stt_service_pb2.StreamingTranscribeRequest(audio=audio[at : at + _MAX_BYTES])
                        await self._send(request)

    async def finish(self) -> None:
        """No audio follows; what is being said is still transcribed."""
        await self.send_audio()
        async with self._sending:
            await self._call.done_writing()

    def cancel(self) -> None:
        """Stop, and forget what was said."""
        self._cancelled = True
        self._call.cancel()

    async def events(self) -> AsyncGenerator[ListeningEvent, None]:
        """What the service hears, until the call ends; times are from the start of this call's audio.

        Raises:
            ParleyError: where the call fails.
        """
        try:
            async for response in responses(self._call, NAME):
                kind = response.WhichOneof("event")
                if kind == "transcript":
                    yield _transcript(response.transcript)
                elif kind == "speech_started":
                    yield SpeechStarted(response.speech_started.utterance_id, seconds(response.speech_started.offset))
                elif kind == "speech_stopped":
                    yield _stopped(response.speech_stopped)
                elif kind == "speech_paused":
                    yield SpeechPaused(response.speech_paused.utterance_id, seconds(response.speech_paused.offset))
                elif kind == "speech_resumed":
                    yield SpeechResumed(response.speech_resumed.utterance_id)
        except asyncio.CancelledError:
            if not self._cancelled:  # grpc.aio raises this for a call that we cancelled, too
                raise

    async def _send(self, request: stt_service_pb2.StreamingTranscribeRequest) -> None:
        try:
            if self._opening is not None:
                opening, self._opening = self._opening, None
                await self._call.write(stt_service_pb2.StreamingTranscribeRequest(config=opening))
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call has ended; whoever reads its events learns why


def _stopped(message: stt_service_pb2.SpeechStopped) -> SpeechStopped:
    heard = message.turn_end_probability if message.HasField("turn_end_probability") else None
    return SpeechStopped(message.utterance_id, seconds(message.offset), heard)


def _transcript(message: stt_service_pb2.Transcript) -> TranscriptEvent:
    if message.is_final:
        return TranscriptCompleted(message.utterance_id, message.text, message.language_code)
    return TranscriptUpdated(message.utterance_id, message.text, message.language_code, at_pause=message.is_at_pause)


def _transcription_config(config: SessionConfig) -> stt_service_pb2.TranscriptionConfig:
    return stt_service_pb2.TranscriptionConfig(
        model=config.stt_model,
        audio_format=audio_format_message(config.input_format),
        language_code=config.language_code,
        enable_interim_results=True,
    )
