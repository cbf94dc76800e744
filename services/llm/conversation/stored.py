"""Conversations as they are stored, read and changed where others may change them at the same time."""

from collections.abc import Callable
from dataclasses import replace

from services.common.errors import ConversationNotFoundError, InvalidArgumentError
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.store import ConversationStore
from services.llm.conversation.turn_claim import TurnClaim

Change = Callable[[Conversation], Conversation]


class StoredConversations:
    """Changes are optimistic: made on what was read last, and again where somebody else has written since.

    Args:
        store: where they are kept.
        on_change: told of every conversation that was made or changed here; must not wait.
    """

    def __init__(self, store: ConversationStore, on_change: Callable[[Conversation], None]) -> None:
        self._store = store
        self._on_change = on_change

    async def create(self, conversation: Conversation) -> None:
        """Keep a new one.

        Raises:
            InvalidArgumentError: the id is taken.
            OverloadedError: there are too many.
        """
        if not await self._store.create(conversation):
            raise InvalidArgumentError("a conversation with this id exists already", field="conversation_id")
        self._on_change(conversation)

    async def get(self, conversation_id: str) -> Conversation:
        """Read one.

        Raises:
            ConversationNotFoundError: there is none, or no more.
        """
        return self.found(await self._store.get(conversation_id))

    def found(self, conversation: Conversation | None) -> Conversation:
        """What the store returned, without the held turns that have expired.

        Raises:
            ConversationNotFoundError: there is none, or no more.
        """
        if conversation is None:
            raise ConversationNotFoundError("no such conversation, or it has expired", field="conversation_id")
        return conversation.expire(self._store.now())

    async def change(
        self,
        conversation_id: str,
        change: Change,
        known: Conversation | None = None,
        ending: TurnClaim | None = None,
    ) -> Conversation:
        """Change what is `known`, or read it first; again where somebody else was faster.

        Args:
            conversation_id: of the conversation.
            change: pure, and harmless where it was made already: a connection may break after the store has written.
            known: what was read last, if it was read.
            ending: the claim of a turn that ends with this; it is given back where something is written.

        Raises:
            ConversationNotFoundError: there is none, or another one under the id of the one that is known.
        """
        known = known or await self.get(conversation_id)
        created_at = known.created_at
        while True:
            if known.created_at != created_at:
                raise ConversationNotFoundError("the conversation was deleted meanwhile", field="conversation_id")
            changed = change(known)
            if changed is known:
                return known
            if await self._store.replace(changed, ending.response_id if ending else ""):
                if ending:
                    ending.given_back = True
                changed = replace(changed, version=changed.version + 1)
                self._on_change(changed)
                return changed
            known = await self.get(conversation_id)
