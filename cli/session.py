"""A client of VoiceAgentService.Converse: audio out, events in. The only file of the CLI that knows its messages."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc as pb_grpc

from cli import events
from cli.errors import CliError
from cli.programs import ORCHESTRATOR
from cli.rpc import explain
from services.common.audio_format import AudioFormat, Encoding
from services.common.channel import open_channel
from services.common.wire import audio_format, audio_format_message, seconds

OUTPUT_FORMAT = AudioFormat(Encoding.PCM_S16LE, 24_000)
_OPEN_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 2.0
_TIMINGS = frozenset(field.name for field in dataclasses.fields(events.Timings))
_OUTCOMES = {
    pb.RESPONSE_STATUS_COMPLETED: events.Outcome.COMPLETED,
    pb.RESPONSE_STATUS_CANCELLED: events.Outcome.CANCELLED,
    pb.RESPONSE_STATUS_INCOMPLETE: events.Outcome.INCOMPLETE,
    pb.RESPONSE_STATUS_FAILED: events.Outcome.FAILED,
}


@dataclass(frozen=True)
class SessionOptions:
    """What a session is opened with; empty text means the server's default."""

    input_format: AudioFormat
    output_format: AudioFormat = OUTPUT_FORMAT
    voice: str = ""
    language: str = ""
    instructions: str = ""
    conversation_id: str = ""


class Session:
    """An open conversation. Make it with `open_session`.

    Attributes:
        id, conversation_id: as the server named them.
        output_format: what the audio of the answers really is.
    """

    def __init__(self, call: Any, target: str, created: pb.SessionCreated, wanted: AudioFormat) -> None:
        self._call = call
        self._target = target
        self.id = created.session_id
        self.conversation_id = created.conversation_id
        answered = created.session.output_audio_format
        self.output_format = audio_format(answered, "session.output_audio_format") if answered.encoding else wanted

    async def send_audio(self, data: bytes) -> bool:
        """Send audio in the session's input format; False once the session has ended (its events say why)."""
        return await _written(
            self._call.write(pb.ConverseRequest(input_audio_buffer_append=pb.InputAudioBufferAppend(audio=data)))
        )

    async def end(self) -> None:
        """Nothing follows: the server ends the session, and with it the events."""
        await _written(self._call.done_writing())

    async def events(self) -> AsyncIterator[events.Event]:
        """What happens, until the session ends.

        Raises:
            CliError: where it ended with an error.
        """
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                event = _event(message)
                if event is not None:
                    yield event
        except grpc.aio.AioRpcError as error:
            raise explain(error, ORCHESTRATOR, self._target, connected=True) from None


@contextlib.asynccontextmanager
async def open_session(target: str, options: SessionOptions) -> AsyncIterator[Session]:
    """Open a conversation; leaving the block ends it.

    Raises:
        CliError: where the orchestrator cannot be reached, refuses, or does not answer.
    """
    async with open_channel(target) as channel:
        call: Any = pb_grpc.VoiceAgentServiceStub(channel).Converse()
        try:
            session = await _opened(call, target, options)
            yield session
            await _end_politely(session, call)
        finally:
            call.cancel()


async def _opened(call: Any, target: str, options: SessionOptions) -> Session:
    update = pb.ConverseRequest(session_update=pb.SessionUpdate(session=_config(options)))
    try:
        async with asyncio.timeout(_OPEN_TIMEOUT_S):
            await _written(call.write(update))
            first = await call.read()
    except TimeoutError:
        raise CliError(f"{ORCHESTRATOR.title} at {target} did not answer in time") from None
    except grpc.aio.AioRpcError as error:
        raise explain(error, ORCHESTRATOR, target) from None
    if first is grpc.aio.EOF:
        raise CliError(f"{ORCHESTRATOR.title} at {target} ended the session at once")
    if first.WhichOneof("event") == "error":
        raise CliError(first.error.message)
    return Session(call, target, first.session_created, options.output_format)


async def _end_politely(session: Session, call: Any) -> None:
    """Half-close and let the server finish, so that it does not count a cancelled call."""
    with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await session.end()
            while await call.read() is not grpc.aio.EOF:
                pass


async def _written(writing: Any) -> bool:
    """Await a write; one that comes too late is no error of its own, since reading tells why the call has ended."""
    try:
        await writing
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


def _config(options: SessionOptions) -> pb.SessionConfig:
    config = pb.SessionConfig(
        input_audio_format=audio_format_message(options.input_format),
        output_audio_format=audio_format_message(options.output_format),
        conversation_id=options.conversation_id,
    )
    if options.voice:
        config.voice = options.voice
    if options.language:
        config.language_code = options.language
    if options.instructions:
        config.instructions = options.instructions
    return config


def _event(message: pb.ConverseResponse) -> events.Event | None:
    """A server event as plain data; None for one that the CLI has no use for (tool calls, a newer server's)."""
    kind = message.WhichOneof("event")
    if kind is None or kind not in _EVENTS:
        return None
    event: events.Event = _EVENTS[kind](getattr(message, kind))
    return event


def _ended(done: pb.ResponseDone) -> events.ResponseEnded:
    timings = None
    if done.HasField("timings"):
        sent = {f"{field.name}_s": seconds(value) for field, value in done.timings.ListFields()}
        timings = events.Timings(**{name: sent[name] for name in sent.keys() & _TIMINGS})
    outcome = _OUTCOMES.get(done.status, events.Outcome.FAILED)
    return events.ResponseEnded(done.response_id, outcome, done.transcript, timings)


_EVENTS: dict[str, Any] = {
    "input_audio_buffer_speech_started": lambda e: events.SpeechStarted(e.item_id, seconds(e.audio_start)),
    "input_audio_buffer_speech_stopped": lambda e: events.SpeechStopped(e.item_id, seconds(e.audio_end)),
    "input_audio_transcription_updated": lambda e: events.InterimTranscript(e.item_id, e.transcript),
    "input_audio_transcription_completed": lambda e: events.FinalTranscript(e.item_id, e.transcript, e.language_code),
    "response_created": lambda e: events.ResponseStarted(e.response_id),
    "response_output_text_delta": lambda e: events.TextDelta(e.response_id, e.delta),
    "response_output_audio_delta": lambda e: events.AudioDelta(
        e.response_id, e.audio, seconds(e.offset) if e.HasField("offset") else None
    ),
    "response_done": _ended,
    "error": lambda e: events.TurnFailed(e.message),
}
