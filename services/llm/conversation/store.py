"""Where conversations are kept: the base of all stores."""

from abc import ABC, abstractmethod

from services.llm.conversation.conversation import Conversation


class ConversationStore(ABC):
    """Keeps conversations for `ttl_s` seconds after their last use.

    Changes are optimistic: a writer replaces the version that it has read, or learns that it was too late, and reads
    again.
    """

    ttl_s: float
    """Seconds after its last use that a conversation is forgotten."""

    @abstractmethod
    async def create(self, conversation: Conversation) -> bool:
        """Keep a new conversation; False where its id is taken.

        Raises:
            OverloadedError: where there is no room for another one.
        """

    @abstractmethod
    async def get(self, conversation_id: str) -> Conversation | None:
        """Read one, which counts as use; None where there is none."""

    @abstractmethod
    async def replace(self, conversation: Conversation) -> bool:
        """Write the next version of what was read (`conversation.version` is the version read).

        Returns:
            False where somebody else has written since, or it has gone.
        """

    @abstractmethod
    async def delete(self, conversation_id: str) -> bool:
        """Forget one; False where there is none."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections."""
