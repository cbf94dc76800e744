"""Messages on their way into a session's history and out of it, besides the turns themselves."""

import asyncio
import logging
from collections.abc import Callable

from parley.common.v1 import chat_pb2

from orchestrator.domain import Failure, ItemDeleted
from orchestrator.outbox import Outbox
from orchestrator.stages.failover import FailoverLanguageModel
from services.common.errors import InvalidArgumentError, NotFoundError, ParleyError

log = logging.getLogger(__name__)

DELETED = "conversation_item_delete.item_id"
"""The client's field that names what is to be deleted."""


class Items:
    """Adds messages one after another; one that is refused is told to the client, by the event that brought it.
    Deletions take their place among them.

    Args:
        on_unanswered: called with the id of a function call whose output could not be added just now.
        on_deleted: called with the name of what was deleted.
    """

    def __init__(
        self,
        llm: FailoverLanguageModel,
        outbox: Outbox,
        on_unanswered: Callable[[str], None],
        on_deleted: Callable[[str], None],
    ) -> None:
        self.conversation_id = ""
        self._llm, self._outbox, self._on_unanswered, self._on_deleted = llm, outbox, on_unanswered, on_deleted
        self._order = asyncio.Lock()
        self._early: dict[str, tuple[chat_pb2.Message, str]] = {}

    @property
    def early(self) -> int:
        """Outputs of functions that wait for the end of the response that has called them."""
        return len(self._early)

    async def add(self, message: chat_pb2.Message, client_event_id: str = "") -> None:
        """Add a message after those before."""
        async with self._order:
            try:
                await self._llm.append_message(self.conversation_id, message)
            except ParleyError as error:
                self._outbox.put(Failure(error, client_event_id))
                if message.tool_call_id and not isinstance(error, NotFoundError | InvalidArgumentError):
                    self._on_unanswered(message.tool_call_id)

    async def delete(self, item_id: str, client_event_id: str, *, missing_ok: bool) -> None:
        """Delete an item after what came before; the client is told of it."""
        async with self._order:
            try:
                await self._llm.delete_item(self.conversation_id, item_id)
            except ParleyError as error:
                missing = isinstance(error, NotFoundError) and error.field == DELETED
                if not (missing and missing_ok):
                    self._outbox.put(Failure(error, client_event_id))
                    return
            self._on_deleted(item_id)
            self._outbox.put(ItemDeleted(item_id))

    async def added(self) -> None:
        """Wait until the messages given so far are in the history."""
        async with self._order:
            pass

    def keep(self, output: chat_pb2.Message, client_event_id: str) -> None:
        """Keep the output of a function until the response that has called it has ended; a second one is dropped."""
        self._early.setdefault(output.tool_call_id, (output, client_event_id))

    def take(self, calls: frozenset[str]) -> list[tuple[chat_pb2.Message, str]]:
        """The outputs kept of these calls, each with the event that brought it; the others are dropped."""
        kept, self._early = self._early, {}
        return [item for call_id, item in kept.items() if call_id in calls]

    async def pending_calls(self) -> frozenset[str]:
        """The function calls of which the history has no output."""
        try:
            return await self._llm.pending_calls()
        except ParleyError as error:
            log.warning("function calls not known", extra={"error": str(error)})
            return frozenset()
