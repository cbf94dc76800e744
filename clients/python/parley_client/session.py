"""An open conversation: what a client sends, what happens, and what a well-behaved client does by itself."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import audio_pb2, chat_pb2

from parley_client.convert import duration, event_of, frame_bytes
from parley_client.errors import SessionError, session_error
from parley_client.events import AudioDelta, Event, FunctionCall, Reconnected, SpeechStarted, TurnFailed
from parley_client.gathering import Gathering
from parley_client.playback import Playback
from parley_client.tools import Tool
from services.common.sent_status import SentStatus

INPUT_FORMAT = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
OUTPUT_FORMAT = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=24_000)
_OPEN_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
_TRUNCATE = "parley_client.truncate"
_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
"""A dead connection is noticed within 25 s, and one that is refused is tried again soon."""


@contextlib.asynccontextmanager
async def connect(
    target: str,
    config: pb.SessionConfig | None = None,
    *,
    tools: Iterable[Tool] = (),
    reconnect_s: float = 30.0,
    credentials: grpc.ChannelCredentials | None = None,
    token: str = "",
    channel: grpc.aio.Channel | None = None,
) -> AsyncIterator["Session"]:
    """Open a conversation; leaving the block ends it.

    Args:
        target: `host:port` of the orchestrator, or another gRPC target.
        config: as in the contract; unless it says otherwise, audio is 16 bit mono, up at 16 kHz and down at 24 kHz.
        tools: functions that the session runs when the assistant calls them.
        reconnect_s: how long a lost stream is tried to be opened again; 0 for not at all.
        credentials: for TLS; without them the connection is not encrypted.
        token: sent as `authorization: Bearer`.
        channel: that is open to the target already, for many sessions at once; it is left open.

    Raises:
        SessionError: where the server cannot be reached, refuses, or does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        if channel is None:
            channel = await stack.enter_async_context(_channel(target, credentials))
        session = Session(channel, config or pb.SessionConfig(), tools, reconnect_s, token)
        try:
            await session._open()
            yield session
            await session._end_politely()
        finally:
            await session._aclose()


def _channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(target, credentials, options=_CHANNEL_OPTIONS)


class Session:
    """Made by `connect`. While a lost stream is being opened again audio is dropped; whatever else is sent waits.

    What sends returns False once the session has ended for good.

    Attributes:
        id: of this session; another one after `Reconnected`.
        conversation_id: to go on with later, in `SessionConfig.conversation_id`.
        output_format: of the audio that comes.
        closed: whether the session has ended for good; `events` says why.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        config: pb.SessionConfig,
        tools: Iterable[Tool],
        reconnect_s: float,
        token: str,
    ) -> None:
        self._stub = agent_service_pb2_grpc.VoiceAgentServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._tools = {tool.name: tool for tool in tools}
        self._config = pb.SessionConfig(input_audio_format=INPUT_FORMAT, output_audio_format=OUTPUT_FORMAT)
        self._config.MergeFrom(config)
        self._config.tools.extend(tool.message() for tool in self._tools.values())
        self._reconnect_s = reconnect_s
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._online = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._playback: Playback | None = None
        self._gathering = Gathering()
        self._ending = False
        self.id, self.conversation_id, self.output_format, self.closed = "", "", OUTPUT_FORMAT, False

    # What the client sends

    async def send_audio(self, data: bytes) -> bool:
        """Send audio in the session's input format, as it comes; while nobody speaks, some of it waits for more."""
        if self._online.is_set() and self._gathering.add(data, self._bytes_per_second):
            async with self._writing:
                await self._write_audio()
        return not self.closed

    async def commit(self) -> bool:
        """The user's turn ends here; for push-to-talk (`TurnDetection.MODE_MANUAL`)."""
        return await self._send(input_audio_buffer_commit=pb.InputAudioBufferCommit())

    async def write(self, text: str) -> bool:
        """The user writes instead of speaking, and is answered."""
        message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])
        await self.add(message)
        return await self._send(response_create=pb.ResponseCreate())

    async def add(self, message: chat_pb2.Message) -> bool:
        """Add a message to the conversation: text, an image, or a function's output that the session does not give."""
        return await self._send(conversation_item_create=pb.ConversationItemCreate(item=message))

    async def delete(self, item_id: str) -> bool:
        """Take an item out of the conversation: an utterance, an answer, a message added with this `item_id`, or a
        function call (by its id) with its output. `ItemDeleted` tells when it is gone.
        """
        return await self._send(conversation_item_delete=pb.ConversationItemDelete(item_id=item_id))

    async def update(self, config: pb.SessionConfig, *, clear_tools: bool = False) -> bool:
        """Change what the fields say that are set; `clear_tools` takes away the functions that were there before."""
        if config.tools or clear_tools:
            del self._config.tools[:]
        self._config.MergeFrom(config)  # for the next session, too
        return await self._send(session_update=pb.SessionUpdate(session=config, clear_tools=clear_tools))

    async def interrupt(self) -> bool:
        """Stop the assistant, as the user's voice does."""
        await self._stop_playback()
        return await self._send(response_cancel=pb.ResponseCancel())

    async def truncate(self, item_id: str, played_s: float) -> bool:
        """Say how far an item was played when it was stopped; `play` does this by itself."""
        cut = pb.ConversationItemTruncate(item_id=item_id, audio_end=duration(played_s))
        return await self._send(_TRUNCATE, conversation_item_truncate=cut)

    async def end(self) -> None:
        """Nothing follows: what was asked is answered, then the events end."""
        self._ending = True
        async with self._writing:
            await self._write_audio()
            await _written(self._call.done_writing())

    # What happens

    def play(self) -> Playback:
        """The speech of the answers, to be read by a loudspeaker. It is stopped when the user begins to speak, and the
        server is told how far it was read.
        """
        if self._playback is None:
            self._playback = Playback(self.output_format.sample_rate_hertz, frame_bytes(self.output_format))
        return self._playback

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until the session ends. Functions are called, playback is fed and stopped as this is read.

        Raises:
            SessionError: where it ended with an error, and could not go on in another session.
        """
        while not self.closed:
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as error:
                await self._reopen(error)
                yield Reconnected(self.id)
                continue
            event = event_of(message) if message is not grpc.aio.EOF else None
            if event is not None and not _came_too_late(event):
                await self._attend(event)
                yield event
            self.closed = message is grpc.aio.EOF

    async def _attend(self, event: Event) -> None:
        """Do what a client has to do at an event."""
        self._gathering.see(event)
        match event:
            case SpeechStarted():
                await self._stop_playback()
            case AudioDelta() if self._playback is not None:
                self._playback.add(event)
            case FunctionCall() if event.name in self._tools:
                running = asyncio.create_task(self._run(self._tools[event.name], event))
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    async def _stop_playback(self) -> None:
        if self._playback is not None and (position := self._playback.stop()) is not None:
            await self.truncate(*position)

    async def _run(self, tool: Tool, call: FunctionCall) -> None:
        output = [chat_pb2.ContentPart(text=await tool.output(call.arguments))]
        await self.add(chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=call.call_id, content=output))

    # The stream

    async def _open(self) -> None:
        self._call = self._stub.Converse(metadata=self._metadata)
        self._status = SentStatus(self._call)
        opening = pb.ConverseRequest(session_update=pb.SessionUpdate(session=self._config))
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await _written(self._call.write(opening))
                first = await self._call.read()
        except TimeoutError:
            raise SessionError(grpc.StatusCode.DEADLINE_EXCEEDED, "did not answer in time") from None
        except grpc.aio.AioRpcError as error:
            failure = self._failure(error)
            raise failure from failure.__cause__
        if first is grpc.aio.EOF or not first.HasField("session_created"):
            raise SessionError(grpc.StatusCode.UNKNOWN, "did not open the session")
        created = first.session_created
        self.id, self.conversation_id = created.session_id, created.conversation_id
        self._config.conversation_id = created.conversation_id
        if created.session.output_audio_format.encoding:
            self.output_format = created.session.output_audio_format
        self._gathering = Gathering()
        self._online.set()

    async def _reopen(self, error: grpc.aio.AioRpcError) -> None:
        """Go on in a new session, after waits that grow, or as long as the server asks for."""
        failure = self._failure(error)
        give_up_at, wait_s = time.monotonic() + self._reconnect_s, _FIRST_WAIT_S
        self._online.clear()
        if self._playback is not None:
            self._playback.stop()
        while not self._online.is_set():
            pause_s = max(failure.retry_after_s or 0.0, wait_s * random.uniform(0.5, 1.0))
            if self._ending or not failure.may_go_on or time.monotonic() + pause_s > give_up_at:
                self.closed = True
                self._online.set()  # whoever waits to send need not
                raise failure from failure.__cause__
            await asyncio.sleep(pause_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            try:
                await self._open()
            except SessionError as again:
                failure = again

    def _failure(self, error: grpc.aio.AioRpcError) -> SessionError:
        return session_error(self._status.of(error), opened=bool(self.id))

    async def _send(self, event_id: str = "", **event: Any) -> bool:
        await self._online.wait()
        async with self._writing:  # gRPC takes one message at a time
            await self._write_audio()  # what came before goes before
            await _written(self._call.write(pb.ConverseRequest(event_id=event_id, **event)))
        return not self.closed

    async def _write_audio(self) -> None:
        """Send the audio that waits; the caller holds `_writing`."""
        if audio := self._gathering.take():
            append = pb.InputAudioBufferAppend(audio=audio)
            await _written(self._call.write(pb.ConverseRequest(input_audio_buffer_append=append)))

    @property
    def _bytes_per_second(self) -> int:
        audio_format = self._config.input_audio_format
        return audio_format.sample_rate_hertz * frame_bytes(audio_format)

    async def _end_politely(self) -> None:
        """Half-close and let the server finish, so that it does not count a cancelled call. Whoever has cancelled the
        reading of the events has cancelled the call, which would now raise a CancelledError that nobody asked for.
        """
        if self._call.done():
            return
        with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.end()
                while await self._call.read() is not grpc.aio.EOF:
                    pass

    async def _aclose(self) -> None:
        self.closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._call.cancel()


def _came_too_late(event: Event) -> bool:
    """The answer that playback was stopped in had just ended: nothing that anybody need know."""
    return isinstance(event, TurnFailed) and event.client_event_id == _TRUNCATE


async def _written(writing: Any) -> None:
    """Await a write; one that comes too late is no error of its own, since reading tells why the call has ended."""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await writing
