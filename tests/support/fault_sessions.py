"""Sessions in every state, what their users do when something breaks, and what becomes of it."""

import asyncio
import contextlib
from enum import StrEnum

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2

from services.common.channel import open_channel
from tests.support.fault_stack import APOLOGY, CALLING, KEEPALIVE, SPEAKING, THINKING, FaultStack
from tests.support.stack import Conversation, conversation_on
from tests.support.talking import noise

DEADLINE_S = 30.0
"""Whatever breaks, its outcome is there by then: the timeouts of the stack are far shorter."""
_VOICE = noise(0.4)
_TOOL = chat_pb2.Tool(name="look_up", description="Looks it up.", parameters_json_schema="{}")


class State(StrEnum):
    """What a session is doing when something breaks."""

    LISTENING = "listening"
    USER_SPEAKING = "user speaking"
    THINKING = "thinking"
    SPEAKING = "speaking"
    IDLE = "idle between turns"
    CALLING = "tool call pending"


class Outcome(StrEnum):
    """What becomes of the turn; in every case the next one, on the same conversation, is answered."""

    RECOVERED = "recovered"
    RETRIED = "retried"
    APOLOGISED = "apologised"
    ENDED = "ended"


_ANSWERED_ANYWAY = (State.THINKING, State.SPEAKING, State.CALLING)
"""The user has said what is to be said: an error beside that loses none of it."""
_INSTRUCTIONS = {State.THINKING: THINKING, State.SPEAKING: SPEAKING, State.CALLING: CALLING}


class FaultySession:
    """One user's session; it is entered in its state, goes on when something has broken, and is used again."""

    def __init__(self, stack: FaultStack, state: State) -> None:
        self.state = state
        self.code: grpc.StatusCode | None = None
        """How the session ended, where it did."""
        self.errors: list[pb.ErrorEvent] = []
        self._stack = stack
        self._exits = contextlib.AsyncExitStack()
        self._client: Conversation
        self._conversation_id = ""
        self._call_id = ""

    async def enter(self) -> None:
        """Be in the state."""
        await self._open(_INSTRUCTIONS.get(self.state, ""))
        if self.state is State.LISTENING:
            await self._client.append(bytes(3200))
        elif self.state is State.USER_SPEAKING:
            await self._client.append(_VOICE)
            await self._client.until("input_audio_buffer_speech_started")
        else:
            await self._say()
            if self.state is State.THINKING:
                await self._client.until("response_created")
            elif self.state is State.SPEAKING:
                await self._client.until("response_output_audio_delta")
            elif self.state is State.CALLING:
                self._call_id = (await self._client.until("response_function_call")).call.id
                await self._client.until("response_done")
            else:
                await self._client.until("response_done")

    async def go_on(self) -> Outcome:
        """The user does what comes next; what becomes of that turn.

        Raises:
            AssertionError: nothing does, or something that is not in the table.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                if self.state is State.CALLING:
                    await self._return_output()
                elif self.state not in (State.THINKING, State.SPEAKING):
                    await self._say()
                return await self._outcome(answered_anyway=self.state in _ANSWERED_ANYWAY)
        except TimeoutError:
            raise AssertionError(f"{self.state}: hangs after {self._client.kinds()}") from None
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self.code = error.code() if isinstance(error, grpc.aio.AioRpcError) else await self._client.code()
            return Outcome.ENDED

    async def use_again(self) -> None:
        """The link is sound again: say something on the same conversation, until it is answered.

        Raises:
            AssertionError: it is not.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await self._is_answered():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{self.state}: not usable again: {self._client.kinds()} {self.errors}") from None

    def check_named(self, service: str) -> None:
        """Raise AssertionError where errors came, and none of them names the service at fault."""
        assert not self.errors or any(service in error.message for error in self.errors), f"{self.state}: {self.errors}"

    async def aclose(self) -> None:
        """Hang up."""
        await self._exits.aclose()
        del self._client  # a call that is known keeps its connection

    async def _open(self, instructions: str) -> None:
        await self._exits.aclose()
        # A connection of its own, which asks for signs of life as the Python client does.
        channel = open_channel(self._stack.address, own_connection=True, keepalive=KEEPALIVE)
        opening = conversation_on(
            await self._exits.enter_async_context(channel),
            instructions=instructions or "Answer.",
            tools=[_TOOL],
            conversation_id=self._conversation_id,
        )
        self._client = await self._exits.enter_async_context(opening)
        self._conversation_id = self._client.events[0].session_created.conversation_id

    async def _say(self) -> None:
        await self._client.append(_VOICE)
        await self._client.commit()

    async def _return_output(self) -> None:
        item = chat_pb2.Message(
            role=chat_pb2.ROLE_TOOL, tool_call_id=self._call_id, content=[chat_pb2.ContentPart(text="well")]
        )
        await self._client.send(conversation_item_create=pb.ConversationItemCreate(item=item))

    async def _outcome(self, *, answered_anyway: bool = False) -> Outcome:
        """Read on to the end of the turn."""
        while True:
            event = await self._client.until("response_done", "error", "input_audio_transcription_completed")
            if isinstance(event, pb.ResponseDone):
                if event.status == pb.RESPONSE_STATUS_COMPLETED:
                    return Outcome.RECOVERED
                if event.status == pb.RESPONSE_STATUS_CANCELLED:
                    continue  # the user has said something else meanwhile
                assert event.status == pb.RESPONSE_STATUS_FAILED, event
                assert self.errors, f"{self.state}: a response failed without an error"
                assert APOLOGY in self._said(), f"{self.state}: no apology"
                return Outcome.APOLOGISED
            if isinstance(event, pb.ErrorEvent):
                self._check_clear(event)
            elif event.transcript:
                continue
            if not self._answering() and not answered_anyway:  # lost, or nothing was heard of it
                assert isinstance(event, pb.InputAudioTranscriptionCompleted) or event.HasField("retry_delay"), event
                return Outcome.RETRIED

    async def _is_answered(self) -> bool:
        """Say something, in a new session where the last one has ended; whether it is answered."""
        try:
            if self.code is not None:
                await self._open("")
                self.code = None
            else:
                plain = pb.SessionConfig(instructions="Answer.")
                await self._client.send(session_update=pb.SessionUpdate(session=plain))
            await self._say()
            return await self._outcome() is Outcome.RECOVERED
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self.code = grpc.StatusCode.UNKNOWN
            return False

    def _said(self) -> str:
        return "".join(event.response_output_text_delta.delta for event in self._client.events)

    def _answering(self) -> bool:
        """Whether a response has begun and not ended."""
        kinds = self._client.kinds()
        return kinds.count("response_created") > kinds.count("response_done")

    def _check_clear(self, error: pb.ErrorEvent) -> None:
        self.errors.append(error)
        assert error.message, error
        assert "127.0.0.1" not in error.message
        assert "Error" not in error.message
