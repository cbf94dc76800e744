"""Conversations in this process's memory, bounded in number and age."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.common.errors import ConversationBusyError, OverloadedError
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.store import TURN, ConversationStore


@dataclass(slots=True)
class _Entry:
    conversation: Conversation
    used_at: float
    claims: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Holder and end of each claim."""


class MemoryStore(ConversationStore):
    """A table in the order of last use, so that the expired ones are at its front.

    Args:
        ttl_s: seconds after its last use that a conversation is forgotten.
        limit: conversations kept at a time.
        clock: seconds, monotonic.
    """

    def __init__(self, ttl_s: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl_s = ttl_s
        self._limit = limit
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        self._expire()
        return len(self._entries)

    def now(self) -> float:
        return self._clock()

    async def create(self, conversation: Conversation) -> bool:
        self._expire()
        if conversation.id in self._entries:
            return False
        if len(self._entries) >= self._limit:
            raise OverloadedError(
                "too many conversations; delete some, or try later", retry_after_s=self._next_expiry()
            )
        self._entries[conversation.id] = _Entry(conversation, self._clock())
        return True

    async def get(self, conversation_id: str) -> Conversation | None:
        entry = self._used(conversation_id)
        return None if entry is None else entry.conversation

    async def get_for_turn(self, conversation_id: str, response_id: str, seconds: float) -> Conversation | None:
        entry = self._used(conversation_id)
        if entry is None:
            return None
        if not self._claim(entry, TURN, response_id, seconds):
            raise ConversationBusyError("another turn of this conversation is running", retry_after_s=1.0)
        return entry.conversation

    async def replace(self, conversation: Conversation, ended: str = "") -> bool:
        self._expire()
        entry = self._entries.get(conversation.id)
        if entry is None or entry.conversation.version != conversation.version:
            return False
        if ended:
            holder = self._holder(entry, TURN)
            if holder is not None and holder != ended:
                raise ConversationBusyError("another turn of this conversation was faster", retry_after_s=1.0)
            entry.claims.pop(TURN, None)
        entry.conversation = replace(conversation, version=conversation.version + 1)
        self._use(entry)
        return True

    async def delete(self, conversation_id: str) -> bool:
        self._expire()
        return self._entries.pop(conversation_id, None) is not None

    async def claim(self, conversation_id: str, what: str, holder: str, seconds: float) -> bool:
        entry = self._entries.get(conversation_id)
        return entry is not None and self._claim(entry, what, holder, seconds)

    async def give_back(self, conversation_id: str, what: str, holder: str) -> None:
        entry = self._entries.get(conversation_id)
        if entry is not None and self._holder(entry, what) == holder:
            del entry.claims[what]

    async def holder(self, conversation_id: str, what: str) -> str | None:
        entry = self._entries.get(conversation_id)
        return None if entry is None else self._holder(entry, what)

    async def aclose(self) -> None:
        self._entries.clear()

    def _claim(self, entry: _Entry, what: str, holder: str, seconds: float) -> bool:
        if self._holder(entry, what) not in (None, holder):
            return False
        entry.claims[what] = (holder, self._clock() + seconds)
        return True

    def _holder(self, entry: _Entry, what: str) -> str | None:
        holder, until = entry.claims.get(what, ("", 0.0))
        return holder if until > self._clock() else None

    def _used(self, conversation_id: str) -> _Entry | None:
        self._expire()
        entry = self._entries.get(conversation_id)
        if entry is not None:
            self._use(entry)
        return entry

    def _use(self, entry: _Entry) -> None:
        entry.used_at = self._clock()
        self._entries.move_to_end(entry.conversation.id)

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self.ttl_s
        while self._entries:
            entry = next(iter(self._entries.values()))
            if entry.used_at > oldest_allowed:
                return
            del self._entries[entry.conversation.id]

    def _next_expiry(self) -> float:
        return max(1.0, next(iter(self._entries.values())).used_at + self.ttl_s - self._clock())
