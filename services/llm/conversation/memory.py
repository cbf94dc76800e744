"""Conversations in this process's memory, bounded in number and age."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.common.errors import OverloadedError
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.store import ConversationStore


@dataclass(slots=True)
class _Entry:
    conversation: Conversation
    used_at: float


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
        self._expire()
        entry = self._entries.get(conversation_id)
        if entry is None:
            return None
        self._use(entry)
        return entry.conversation

    async def replace(self, conversation: Conversation) -> bool:
        self._expire()
        entry = self._entries.get(conversation.id)
        if entry is None or entry.conversation.version != conversation.version:
            return False
        entry.conversation = replace(conversation, version=conversation.version + 1)
        self._use(entry)
        return True

    async def delete(self, conversation_id: str) -> bool:
        self._expire()
        return self._entries.pop(conversation_id, None) is not None

    async def aclose(self) -> None:
        self._entries.clear()

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
