"""A client of the STT service, as a stranger would write it from the contract alone."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from parley.common.v1 import audio_pb2
from parley.stt.v1 import stt_service_pb2 as pb
from parley.stt.v1 import stt_service_pb2_grpc as pb_grpc

PCM16_16K = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
FORCE = pb.StreamingTranscribeRequest(force_end_of_utterance=pb.ForceEndOfUtterance())


class UntilInterim:
    """Among the messages of a stream: send nothing more before another interim transcript has come back."""


@dataclass
class Heard:
    """What came back: all events in order, and the error that ended the call, if one did."""

    events: list[Any] = field(default_factory=list)
    error: grpc.aio.AioRpcError | None = None
    interim_came: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, kind: str) -> list[Any]:
        """The events of one kind of the oneof."""
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def kinds(self) -> list[str]:
        """The kinds of all events, in order."""
        return [event.WhichOneof("event") for event in self.events]

    @property
    def finals(self) -> list[Any]:
        """Final transcripts."""
        return [transcript for transcript in self.of("transcript") if transcript.is_final]

    @property
    def interims(self) -> list[Any]:
        """Interim transcripts."""
        return [transcript for transcript in self.of("transcript") if not transcript.is_final]

    @property
    def text(self) -> str:
        """All that was finally heard."""
        return " ".join(transcript.text for transcript in self.finals)


def config(audio_format: audio_pb2.AudioFormat = PCM16_16K, **fields: Any) -> pb.TranscriptionConfig:
    """A configuration; PCM16 at 16 kHz unless told otherwise."""
    return pb.TranscriptionConfig(audio_format=audio_format, **fields)


def opening(
    transcription: pb.TranscriptionConfig | None = None, *, manual_end: bool = False, **endpointing: Any
) -> pb.StreamingTranscribeRequest:
    """The first message of a live stream."""
    streaming = pb.StreamingConfig(config=transcription or config(), manual_end=manual_end)
    if endpointing:
        streaming.endpointing.CopyFrom(audio_pb2.EndpointingConfig(**endpointing))
    return pb.StreamingTranscribeRequest(config=streaming)


def audio(data: bytes, chunk_bytes: int = 3_200) -> list[pb.StreamingTranscribeRequest]:
    """Audio messages of at most so many bytes."""
    return [pb.StreamingTranscribeRequest(audio=data[at : at + chunk_bytes]) for at in range(0, len(data), chunk_bytes)]


async def transcribe(address: str, data: bytes, transcription: pb.TranscriptionConfig | None = None) -> Heard:
    """One recording."""
    request = pb.TranscribeRequest(config=transcription or config(), audio=data)
    async with grpc.aio.insecure_channel(address) as channel:
        heard = Heard()
        await _collect(heard, pb_grpc.SpeechToTextServiceStub(channel).Transcribe(request))
        return heard


async def stream(address: str, messages: Sequence[pb.StreamingTranscribeRequest | UntilInterim]) -> Heard:
    """One live stream, sent as fast as the server takes it."""
    async with grpc.aio.insecure_channel(address) as channel:
        heard = Heard()
        requests = _sent(messages, heard)
        await _collect(heard, pb_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(requests))
        return heard


async def _sent(
    messages: Iterable[pb.StreamingTranscribeRequest | UntilInterim], heard: Heard
) -> AsyncIterator[pb.StreamingTranscribeRequest]:
    for message in messages:
        if isinstance(message, UntilInterim):
            await heard.interim_came.wait()
            heard.interim_came.clear()
        else:
            yield message


async def _collect(heard: Heard, call: Any) -> None:
    try:
        async for event in call:
            heard.events.append(event)
            if event.WhichOneof("event") == "transcript" and not event.transcript.is_final:
                heard.interim_came.set()
    except grpc.aio.AioRpcError as error:
        heard.error = error
