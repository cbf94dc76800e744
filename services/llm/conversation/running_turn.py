"""A turn of a conversation while its answer is generated."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.llm.conversation.conversation import Conversation, HeldTurn
from services.llm.conversation.ids import with_ids
from services.llm.conversation.turn_claim import TurnClaim
from services.llm.domain import Message


@dataclass
class RunningTurn:
    """A turn of a conversation while its answer is generated.

    Attributes:
        conversation: as it was when the turn began; a held turn that nobody committed yet is not in it.
        latest: as this turn last read or wrote it.
        asked: what is new, with ids; empty where the history already ends with what is to be answered.
        claim: what keeps other servers from running another turn meanwhile.
        held: whether the turn waits for `commit_response` after its end.
        answer: what was generated so far.
        item_id: of the answer.
        no_room: ids of the messages of the history that the model had no room for; they leave it with this turn.
    """

    response_id: str
    conversation: Conversation
    latest: Conversation
    asked: tuple[Message, ...]
    claim: TurnClaim
    held: bool
    item_id: str = ""
    answer: Callable[[], tuple[Message, ...]] = tuple
    begun: bool = False
    completed: bool = False
    no_room: frozenset[str] = frozenset()
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def answer_with_ids(self) -> tuple[Message, ...]:
        """What was generated so far; its words are the item that the turn's asker has named, its calls are items of
        their own."""
        return with_ids(
            tuple(replace(message, item_id=self.item_id) if message.content else message for message in self.answer())
        )

    def to_hold(self, expires_at: float, *, ended: bool) -> HeldTurn:
        """This turn as it waits to be settled, with what was generated so far.

        Args:
            expires_at: seconds on the store's clock.
            ended: whether nothing will be generated any more.
        """
        history = self.conversation.messages
        return HeldTurn(
            self.response_id,
            history[-1].id if history else "",
            self.asked,
            self.answer_with_ids(),
            expires_at,
            ended,
            self.item_id,
        )
