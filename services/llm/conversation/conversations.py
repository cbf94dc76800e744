"""The conversations of a server: created, read, changed, and answered one turn after another."""

import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable

from services.common.admission import AdmissionQueue
from services.common.errors import (
    ConversationNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    ParleyError,
    ToolOutputPendingError,
)
from services.llm.conversation.compaction import Plan
from services.llm.conversation.conversation import (
    DEFAULT_MAX_BYTES,
    Conversation,
    ConversationConfig,
    new_messages,
)
from services.llm.conversation.ids import new_id, with_ids
from services.llm.conversation.running_turn import RunningTurn
from services.llm.conversation.store import COMPACTION, ConversationStore
from services.llm.conversation.stored import Change, StoredConversations
from services.llm.conversation.turn_claim import TurnClaim, ended_elsewhere
from services.llm.conversation.window import pending_tool_calls, size_bytes
from services.llm.domain import Message, Role

log = logging.getLogger(__name__)

MAX_WAITING_TURNS = 16
"""Turns that may wait for the one before them on the same conversation, in one server."""


class Conversations:
    """Everything that may be done with conversations; turns on one of them run one after another.

    Where servers share a store, a turn that meets one on another server waits for a moment, and is refused then.

    Args:
        store: where they are kept.
        chat_size: user turns kept, where a conversation sets no other number.
        held_ttl_s: seconds after which a held turn that nobody settled is discarded.
        compact: whether older turns are to be summarized, where a conversation does not say.
        max_bytes: what the messages of a conversation may hold in all.
    """

    def __init__(
        self,
        store: ConversationStore,
        *,
        chat_size: int,
        held_ttl_s: float,
        compact: bool = False,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._store = store
        self._stored = StoredConversations(store, lambda changed: self.on_change(changed))
        self._chat_size = chat_size
        self._held_ttl_s = held_ttl_s
        self._compact = compact
        self._max_bytes = max_bytes
        self.on_change: Callable[[Conversation], None] = lambda conversation: None
        """Told of every conversation that was made or changed here; must not wait."""
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
            InvalidArgumentError: the id is taken, or the messages are too large.
            OverloadedError: there are too many.
        """
        conversation = Conversation(
            conversation_id or new_id("conv"),
            config,
            self._chat_size if config.chat_size is None else config.chat_size,
            created_at=time.time(),
            version=secrets.randbits(48),  # another one under this id later is never taken for it
            compact=self._compact if config.compact_history is None else config.compact_history,
            max_bytes=self._max_bytes,
        )
        conversation = conversation.append(with_ids(messages))
        await self._stored.create(conversation)
        return conversation

    async def get(self, conversation_id: str) -> Conversation:
        """Read one.

        Raises:
            ConversationNotFoundError: there is none, or no more.
        """
        return await self._stored.get(conversation_id)

    async def append(self, conversation_id: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """Add messages without generating; returns them with their ids.

        The output of a tool call that comes before the turn that called it has ended waits for that end.

        Raises:
            NotFoundError: the output of an unknown tool call.
        """
        messages = with_ids(messages)

        async def append() -> Conversation:
            return await self._stored.change(conversation_id, lambda known: known.append(messages))

        try:
            conversation = await append()
        except ConversationNotFoundError:
            raise
        except NotFoundError:
            if conversation_id in self._queues:
                async with self._one_at_a_time(conversation_id):
                    conversation = await append()
            elif await ended_elsewhere(self._store, conversation_id):
                conversation = await append()
            else:
                raise
        return tuple(_stored(conversation, message) for message in messages)

    async def delete_messages(self, conversation_id: str, item_ids: tuple[str, ...]) -> None:
        """Take items out of the history: messages by their `item_id`, calls of tools (with their outputs) by their id.

        Raises:
            NotFoundError: one of them is unknown.
        """
        known = await self.get(conversation_id)
        known.check_items(item_ids)
        await self._stored.change(conversation_id, lambda known: known.delete(frozenset(item_ids)), known)

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        """Put a held response into the history, cut to what was heard (None: all of it, once it has ended).

        A response that another server still generates is waited for, until that server has ended it or died.
        """

        def commit(known: Conversation) -> Conversation:
            return known.commit(response_id, heard_text)

        running = self._running.get(response_id)
        if running is None or not running.held or running.conversation.id != conversation_id:
            known = await self.get(conversation_id)
            held = known.held_turn(response_id)
            if held is not None and not held.ended and await ended_elsewhere(self._store, conversation_id, response_id):
                known = await self.get(conversation_id)
            await self._stored.change(conversation_id, commit, known)
        elif heard_text is None:
            await running.ended.wait()
            await self._stored.change(conversation_id, commit)
        else:
            so_far = running.to_hold(self._held_until(), ended=False)
            running.latest = await self._stored.change(
                conversation_id, lambda known: commit(known.hold(so_far)), running.latest
            )

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        """Drop a held response and the turn that asked for it."""
        await self._stored.change(conversation_id, lambda known: known.discard(response_id))

    async def delete(self, conversation_id: str) -> None:
        """Forget a conversation.

        Raises:
            ConversationNotFoundError: there is none.
        """
        if not await self._store.delete(conversation_id):
            raise ConversationNotFoundError("no such conversation, or it has expired", field="conversation_id")

    @contextlib.asynccontextmanager
    async def turn(
        self, conversation_id: str, messages: tuple[Message, ...], response_id: str, *, held: bool, item_id: str = ""
    ) -> AsyncIterator[RunningTurn]:
        """One turn: waits for those before it, and leaves no trace unless `complete` is called inside.

        A held turn, once `begin` was called, stays held with what was generated of it, however it ends: what the user
        heard of a cancelled answer can still be committed.

        Raises:
            ConversationNotFoundError: there is none.
            ToolOutputPendingError: calls of tools wait for their outputs.
            OverloadedError: too many turns wait on this conversation.
        """
        claim = TurnClaim(self._store, conversation_id, response_id)
        async with self._one_at_a_time(conversation_id), claim:
            conversation = self._stored.found(await claim.take())
            asked = new_messages(conversation.messages, with_ids(messages), "messages")
            check_answerable(conversation.messages + asked)
            if size_bytes(asked) > conversation.max_bytes:
                limit = f"hold more than the {conversation.max_bytes} bytes that a conversation may have"
                raise InvalidArgumentError(limit, field="messages")
            turn = RunningTurn(response_id, conversation, conversation, asked, claim, held, item_id)
            self._running[response_id] = turn
            try:
                yield turn
            finally:
                del self._running[response_id]
                try:
                    if held and turn.begun and not turn.completed:
                        await self._keep_what_came(turn)
                finally:
                    turn.ended.set()

    async def begin(self, turn: RunningTurn, answer: Callable[[], tuple[Message, ...]]) -> None:
        """The turn was admitted: from now on a held one can be settled. `answer` tells what was generated so far."""
        turn.answer = answer
        turn.begun = True
        if turn.held:
            await self._keep(turn, ended=False)

    async def complete(self, turn: RunningTurn) -> None:
        """The answer is whole: it enters the history, or stays held.

        Raises:
            ConversationNotFoundError: the conversation was deleted meanwhile.
            ConversationBusyError: this server was out of touch for so long that another one runs a turn meanwhile.
            StoreUnavailableError: the answer could not be stored.
        """
        if turn.held:
            await self._keep(turn, ended=True)
        else:
            answer = turn.answer_with_ids()
            await self._end(turn, lambda known: known.complete(turn.response_id, turn.asked, answer))
        turn.completed = True

    async def claim_compaction(self, conversation_id: str, holder: str, seconds: float) -> bool:
        """Whether `holder` may summarize a conversation now; no other server does for so many seconds."""
        return await self._store.claim(conversation_id, COMPACTION, holder, seconds)

    async def summarize(self, conversation_id: str, planned: Plan, summary: str) -> bool:
        """Put a summary in place of what it covers; False where another one has taken its place meanwhile.

        Raises:
            ConversationNotFoundError: the conversation was deleted meanwhile.
        """
        known = await self._stored.change(
            conversation_id, lambda known: known.summarize(planned.known_summary, planned.covered, summary)
        )
        return known.summary == summary

    async def _keep_what_came(self, turn: RunningTurn) -> None:
        """At the end of a held turn that failed or was cancelled: its own error is the one to tell."""
        if not turn.answer():
            turn.no_room = frozenset()  # nothing came of it: the history stays as it was
        try:
            await self._keep(turn, ended=True)
        except ConversationNotFoundError:
            return  # deleted meanwhile: nothing to keep
        except ParleyError as error:
            log.warning("what was generated of a held response is lost", extra={"error": error.message})

    async def _keep(self, turn: RunningTurn, *, ended: bool) -> None:
        """Hold the turn with what was generated so far."""
        held = turn.to_hold(self._held_until(), ended=ended)
        if ended:
            await self._end(turn, lambda known: known.hold(held))
        else:
            turn.latest = await self._stored.change(turn.conversation.id, lambda known: known.hold(held), turn.latest)

    def _held_until(self) -> float:
        return self._store.now() + self._held_ttl_s

    async def _end(self, turn: RunningTurn, change: Change) -> None:
        """The turn's last change, which gives its claim back in the same step."""

        def end(known: Conversation) -> Conversation:
            return change(known).let_go(turn.no_room)

        turn.latest = await self._stored.change(turn.conversation.id, end, turn.latest, turn.claim)

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


def _stored(conversation: Conversation, message: Message) -> Message:
    """A message as it is stored: a repeated tool output under the id of the first."""
    if message.role is not Role.TOOL:
        return message
    known = (m for m in conversation.messages if m.role is Role.TOOL and m.tool_call_id == message.tool_call_id)
    return next(known, message)
