"""The whole of Parley as processes on scripted fakes, and a client that knows nothing but the contract."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import audio_pb2, chat_pb2

from services.common.sent_status import SentStatus
from tests.support.servers import RunningServer, running

FAKE_FLAGS: dict[str, tuple[str, ...]] = {
    "stt": ("--stt=fake",),
    "llm": ("--llm_backend=fake",),
    "tts": ("--tts=fake", "--fake_tts_ms_per_character=5"),
}
SPEECH = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
MANUAL = pb.TurnDetection(mode=pb.TurnDetection.MODE_MANUAL)


@contextlib.asynccontextmanager
async def fake_stack(
    *, orchestrator: tuple[str, ...] = (), **flags: tuple[str, ...]
) -> AsyncIterator[dict[str, RunningServer]]:
    """The four programs on fakes; `llm=("--fake_token_ms=50",)` adds flags to one of them."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(name: str) -> RunningServer:
            return await stack.enter_async_context(running(name, *FAKE_FLAGS[name], *flags.get(name, ())))

        servers = dict(zip(FAKE_FLAGS, await asyncio.gather(*map(start, FAKE_FLAGS)), strict=True))
        targets = (f"--{name}_target={server.address}" for name, server in servers.items())
        servers["orchestrator"] = await stack.enter_async_context(running("orchestrator", *targets, *orchestrator))
        yield servers


class Conversation:
    """An open `Converse` call; `events` holds all that came, in order."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._status = SentStatus(call)
        self._writing = asyncio.Lock()
        self.events: list[pb.ConverseResponse] = []

    async def send(self, event_id: str = "", **event: Any) -> None:
        """Send one client event, named as in the contract."""
        async with self._writing:  # gRPC takes one message at a time
            try:
                await self._call.write(pb.ConverseRequest(event_id=event_id, **event))
            except grpc.aio.AioRpcError as error:
                raise self._status.of(error) from None

    async def append(self, audio: bytes = bytes(3200)) -> None:
        """Send audio; by default a tenth of a second of it."""
        await self.send(input_audio_buffer_append=pb.InputAudioBufferAppend(audio=audio))

    async def commit(self) -> None:
        """End the user's turn."""
        await self.send(input_audio_buffer_commit=pb.InputAudioBufferCommit())

    async def write_text(self, text: str) -> None:
        """Add a user message and ask for a response."""
        item = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])
        await self.send(conversation_item_create=pb.ConversationItemCreate(item=item))
        await self.send(response_create=pb.ResponseCreate())

    async def until(self, *kinds: str) -> Any:
        """Read on to the next event of one of the kinds and return what it holds."""
        while True:
            message = await self._call.read()
            if message is grpc.aio.EOF:
                raise AssertionError(f"the session ended before {kinds}: {self.kinds()}")
            self.events.append(message)
            if (kind := message.WhichOneof("event")) in kinds:
                return getattr(message, str(kind))

    async def rest(self) -> list[pb.ConverseResponse]:
        """Half-close and read to the end."""
        await self._call.done_writing()
        while (message := await self._call.read()) is not grpc.aio.EOF:
            self.events.append(message)
        return self.events

    async def code(self) -> grpc.StatusCode:
        """The status of the call, once it has ended."""
        code: grpc.StatusCode = await self._call.code()
        return code

    def kinds(self) -> list[str | None]:
        """The kinds of all events so far."""
        return [event.WhichOneof("event") for event in self.events]

    def audio(self) -> bytes:
        """All audio so far."""
        return b"".join(event.response_output_audio_delta.audio for event in self.events)


@contextlib.asynccontextmanager
async def conversation(
    address: str, credentials: grpc.ChannelCredentials | None = None, **config: Any
) -> AsyncIterator[Conversation]:
    """Open a session with this configuration, manual turns unless it says otherwise; with credentials, over TLS."""
    if credentials is None:
        opening = grpc.aio.insecure_channel(address)
    else:
        opening = grpc.aio.secure_channel(address, credentials)
    async with opening as channel, conversation_on(channel, **{"turn_detection": MANUAL, **config}) as opened:
        yield opened


@contextlib.asynccontextmanager
async def conversation_on(channel: grpc.aio.Channel, **config: Any) -> AsyncIterator[Conversation]:
    """Open a session with this configuration on a channel."""
    call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
    opened = Conversation(call)
    session = pb.SessionConfig(**{"input_audio_format": SPEECH, **config})
    try:
        await opened.send(session_update=pb.SessionUpdate(session=session))
        await opened.until("session_created")
        yield opened
    finally:
        call.cancel()
