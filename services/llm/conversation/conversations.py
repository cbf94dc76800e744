"""The conversations of a server: created, read, changed, and answered one turn after another."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from services.common.admission import AdmissionQueue
from services.common.errors import (
    ConversationNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    ToolOutputPendingError,
)
from services.llm.conversation.conversation import Conversation, ConversationConfig, HeldTurn, new_messages
from services.llm.conversation.store import ConversationStore
from services.llm.conversation.window import pending_tool_calls
from services.llm.domain import Message, Role

MAX_WAITING_TURNS = 16
"""Turns that may wait for the one before them on the same conversation."""

Change = Callable[[Conversation], Conversation]


def new_id(kind: str) -> str:
    """A new unique id: `msg_…`, `resp_…`, `conv_…`."""
    return f"{kind}_{secrets.token_hex(12)}"


@dataclass
class RunningTurn:
    """A turn of a conversation while its answer is generated.

    Attributes:
        conversation: as it was when the turn began; a held turn that nobody committed yet is not in it.
        asked: what is new, with ids; empty where the history already ends with what is to be answered.
        held: whether the turn waits for `commit_response` after its end.
        answer: what was generated so far.
    """

    response_id: str
    conversation: Conversation
    asked: tuple[Message, ...]
    held: bool
    answer: Callable[[], tuple[Message, ...]] = tuple
    begun: bool = False
    completed: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Conversations:
    """Everything that may be done with conversations; turns on one of them run one after another.

    Args:
        store: where they are kept.
        chat_size: user turns kept, where a conversation sets no other number.
        held_ttl_s: seconds after which a held turn that nobody settled is discarded.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: ConversationStore,
        *,
        chat_size: int,
        held_ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._chat_size = chat_size
        self._held_ttl_s = held_ttl_s
        self._clock = clock
        self._queues: dict[str, AdmissionQueue] = {}
        self._running: dict[str, RunningTurn] = {}

    @property
    def ttl_s(self) -> float:
        """Seconds after its last use that a conversation is forgotten."""
        return self._store.ttl_s

    async def create(
        self, config: ConversationConfig, messages: tuple[Message, ...] = (), conversation_id: str = ""
    ) -> Conversation:
        """Start a conversation; without an id it gets one.

        Raises:
            InvalidArgumentError: the id is taken.
            OverloadedError: there are too many.
        """
        chat_size = self._chat_size if config.chat_size is None else config.chat_size
        conversation = Conversation(conversation_id or new_id("conv"), config, chat_size, created_at=time.time())
        conversation = conversation.append(_with_ids(messages))
        if not await self._store.create(conversation):
            raise InvalidArgumentError("a conversation with this id exists already", field="conversation_id")
        return conversation

    async def get(self, conversation_id: str) -> Conversation:
        """Read one.

        Raises:
            ConversationNotFoundError: there is none, or no more.
        """
        conversation = await self._store.get(conversation_id)
        if conversation is None:
            raise ConversationNotFoundError("no such conversation, or it has expired", field="conversation_id")
        return conversation.expire(self._clock())

    async def append(self, conversation_id: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Add messages without generating; returns them with their ids.

        The output of a tool call that comes before the turn that called it has ended waits for that end.

        Raises:
            NotFoundError: the output of an unknown tool call.
        """
        messages = _with_ids(messages)
        try:
            conversation = await self._change(conversation_id, lambda known: known.append(messages))
        except ConversationNotFoundError:
            raise
        except NotFoundError:
            if conversation_id not in self._queues:
                raise
            async with self._one_at_a_time(conversation_id):
                conversation = await self._change(conversation_id, lambda known: known.append(messages))
        return tuple(_stored(conversation, message) for message in messages)

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        """Put a held response into the history, cut to what was heard (None: all of it, once it has ended)."""
        running = self._running.get(response_id)
        if running is not None and running.held and running.conversation.id == conversation_id:
            if heard_text is None:
                await running.ended.wait()
            else:
                await self._keep(running)
        await self._change(conversation_id, lambda known: known.commit(response_id, heard_text))

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        """Drop a held response and the turn that asked for it."""
        await self._change(conversation_id, lambda known: known.discard(response_id))

    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation.

        Raises:
            ConversationNotFoundError: there is none.
        """
        if not await self._store.delete(conversation_id):
            raise ConversationNotFoundError("no such conversation, or it has expired", field="conversation_id")

    @contextlib.asynccontextmanager
    async def turn(
        self, conversation_id: str, messages: tuple[Message, ...], response_id: str, *, held: bool
    ) -> AsyncIterator[RunningTurn]:
        """One turn: waits for those before it, and leaves no trace unless `complete` is called inside.

        A held turn, once `begin` was called, stays held with what was generated of it, however it ends: what the user
        heard of a cancelled answer can still be committed.

        Raises:
            ConversationNotFoundError: there is none.
            ToolOutputPendingError: calls of tools wait for their outputs.
            OverloadedError: too many turns wait on this conversation.
        """
        await self.get(conversation_id)
        async with self._one_at_a_time(conversation_id):
            conversation = await self.get(conversation_id)
            asked = new_messages(conversation.messages, _with_ids(messages), "messages")
            check_answerable(conversation.messages + asked)
            turn = RunningTurn(response_id, conversation, asked, held)
            self._running[response_id] = turn
            try:
                yield turn
            finally:
                del self._running[response_id]
                try:
                    if held and turn.begun and not turn.completed:
                        with contextlib.suppress(ConversationNotFoundError):  # deleted meanwhile: nothing to keep
                            await self._keep(turn)
                finally:
                    turn.ended.set()

    async def begin(self, turn: RunningTurn, answer: Callable[[], tuple[Message, ...]]) -> None:
        """The turn was admitted: from now on a held one can be settled. `answer` tells what was generated so far."""
        turn.answer = answer
        turn.begun = True
        if turn.held:
            await self._keep(turn)

    async def complete(self, turn: RunningTurn) -> None:
        """The answer is whole: it enters the history, or stays held.

        Raises:
            ConversationNotFoundError: the conversation was deleted meanwhile.
        """
        if turn.held:
            await self._keep(turn)
        else:
            answer = turn.answer()
            await self._change(
                turn.conversation.id, lambda known: known.complete(turn.response_id, turn.asked, _with_ids(answer))
            )
        turn.completed = True

    async def _keep(self, turn: RunningTurn) -> None:
        """Hold the turn with what was generated so far."""
        history = turn.conversation.messages
        held = HeldTurn(
            turn.response_id,
            history[-1].id if history else "",
            turn.asked,
            _with_ids(turn.answer()),
            self._clock() + self._held_ttl_s,
        )
        await self._change(turn.conversation.id, lambda known: known.hold(held))

    async def _change(self, conversation_id: str, change: Change) -> Conversation:
        """Read, change, write; again where somebody else was faster."""
        while True:
            known = await self.get(conversation_id)
            changed = change(known)
            if changed is known or await self._store.replace(changed):
                return changed

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self, conversation_id: str) -> AsyncIterator[None]:
        queue = self._queues.get(conversation_id)
        if queue is None:
            queue = AdmissionQueue("turns of this conversation", running=1, waiting=MAX_WAITING_TURNS)
            self._queues[conversation_id] = queue
        try:
            async with queue.admit():
                yield
        finally:
            if not queue.running and not queue.waiting:
                self._queues.pop(conversation_id, None)


def check_answerable(messages: tuple[Message, ...]) -> None:
    """Check that a history can be answered now.

    Raises:
        ToolOutputPendingError: calls of tools wait for their outputs.
        InvalidArgumentError: its last message is the model's own.
    """
    pending = pending_tool_calls(messages)
    if pending:
        calls = (
            "a tool call waits for its output" if len(pending) == 1 else f"{len(pending)} tool calls wait for outputs"
        )
        raise ToolOutputPendingError(calls, field="messages")
    if messages and messages[-1].role is Role.ASSISTANT:
        raise InvalidArgumentError("is required: the last message is the model's own", field="messages")


def _with_ids(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(message if message.id else replace(message, id=new_id("msg")) for message in messages)


def _stored(conversation: Conversation, message: Message) -> Message:
    """A message as it is stored: a repeated tool output under the id of the first."""
    if message.role is not Role.TOOL:
        return message
    known = (m for m in conversation.messages if m.role is Role.TOOL and m.tool_call_id == message.tool_call_id)
    return next(known, message)
