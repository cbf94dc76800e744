"""Where conversations are kept: the base of all stores."""

from abc import ABC, abstractmethod

from services.llm.conversation.conversation import Conversation

TURN = "turn"
"""What the turn of a conversation that is being generated claims."""
COMPACTION = "compaction"


class ConversationStore(ABC):
    """Keeps conversations for `ttl_s` seconds after their last use.

    Changes are optimistic: a writer replaces the version that it has read, or learns that it was too late, and reads
    again. Where several servers share a store, whoever is to do something alone claims it, for seconds, and again
    before they are over; what nobody claims again, because its server has died, is free.

    Every method but `now` may raise StoreUnavailableError.
    """

    ttl_s: float
    """Seconds after its last use that a conversation is forgotten."""
    shared: bool = False
    """Whether other processes use it, too."""

    async def open(self) -> None:
        """Make ready to be used.

        Raises:
            StartupError: with one line that says what to do.
        """
        return

    @abstractmethod
    def now(self) -> float:
        """Seconds, on a clock that all who share the store agree on."""

    @abstractmethod
    async def create(self, conversation: Conversation) -> bool:
        """Keep a new conversation; False where its id is taken.

        Raises:
            OverloadedError: where there is no room for another one.
        """

    @abstractmethod
    async def get(self, conversation_id: str) -> Conversation | None:
        """Read one, which counts as use; None where there is none.

        Raises:
            FailedPreconditionError: what is stored is no conversation that this server can read.
        """

    @abstractmethod
    async def get_for_turn(self, conversation_id: str, response_id: str, seconds: float) -> Conversation | None:
        """Read one and claim its turn for a response, in one step.

        Raises:
            ConversationBusyError: another response has the claim.
            FailedPreconditionError: as `get`.
        """

    @abstractmethod
    async def replace(self, conversation: Conversation, ended: str = "") -> bool:
        """Write the next version of what was read (`conversation.version` is the version read).

        Args:
            conversation: the new one.
            ended: the response whose turn ends with this; its claim is given back in the same step.

        Returns:
            False where somebody else has written since, or it has gone.

        Raises:
            ConversationBusyError: another response has claimed the turn of `ended` meanwhile; nothing was written.
        """

    @abstractmethod
    async def delete(self, conversation_id: str) -> bool:
        """Forget one; False where there is none."""

    @abstractmethod
    async def claim(self, conversation_id: str, what: str, holder: str, seconds: float) -> bool:
        """Claim something of a conversation, or keep the claim; False where another has it, or there is none."""

    @abstractmethod
    async def give_back(self, conversation_id: str, what: str, holder: str) -> None:
        """End a claim, where the holder has it."""

    @abstractmethod
    async def holder(self, conversation_id: str, what: str) -> str | None:
        """Who has the claim now; None where nobody has."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of connections."""
