"""The right to run a turn of a conversation, among all servers that share a store."""

import asyncio
import logging
from types import TracebackType

from services.common.errors import ConversationBusyError, ParleyError, StoreUnavailableError
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.store import TURN, ConversationStore

log = logging.getLogger(__name__)

CLAIM_S = 4.0
"""Seconds after which a turn whose server has died no longer holds up those on other servers."""
WAIT_S = 5.0
"""Seconds that a turn waits for one on another server: it may be ending there, cancelled by the same client. That is
longer than a claim, so that the first turn after a death waits and is not refused."""
FIRST_LOOK_S, LAST_LOOK_S = 0.01, 0.2
"""Seconds between two looks at a claim that another server has: the pause doubles."""


class TurnClaim:
    """Taken once, renewed while the turn runs, given back at its end: by the last write of the turn, in the same step,
    or here.
    """

    def __init__(self, store: ConversationStore, conversation_id: str, response_id: str) -> None:
        self._store = store
        self._conversation_id = conversation_id
        self.response_id = response_id
        self._renewing: asyncio.Task[None] | None = None
        self.given_back = True
        """Whether nothing is left to be given back."""

    async def __aenter__(self) -> "TurnClaim":
        return self

    async def take(self) -> Conversation | None:
        """Read the conversation and claim its turn; None where there is none.

        Raises:
            ConversationBusyError: another server's turn did not end in time.
        """
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + WAIT_S, FIRST_LOOK_S
        while True:
            self.given_back = False
            try:
                conversation = await self._store.get_for_turn(self._conversation_id, self.response_id, CLAIM_S)
                break
            except ConversationBusyError:
                self.given_back = True
                if clock() >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK_S)
        if self._store.shared:
            self._renewing = asyncio.create_task(self._renew())
        return conversation

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        if isinstance(error, StoreUnavailableError):  # it would not answer this either: the caller need not wait
            log.warning("a turn's claim was left to expire: the store is not reachable")
        elif not self.given_back:
            try:
                await self._store.give_back(self._conversation_id, TURN, self.response_id)
            except ParleyError as problem:
                log.warning("a turn's claim was left to expire", extra={"error": problem.message})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(CLAIM_S / 3)
            try:
                if await self._store.holder(self._conversation_id, TURN) != self.response_id:
                    return  # lost, or the conversation was deleted: another one may have its id
                await self._store.claim(self._conversation_id, TURN, self.response_id, CLAIM_S)
            except StoreUnavailableError:
                log.warning("a turn's claim was not renewed: the store is not reachable")


async def ended_elsewhere(store: ConversationStore, conversation_id: str, response_id: str = "") -> bool:
    """Wait until the turn that runs on another server has ended, or its server has died.

    Args:
        store: what the servers share.
        conversation_id: of the turn.
        response_id: the only turn to wait for; "" means whichever runs now.

    Returns:
        Whether there was one.
    """
    if not store.shared:
        return False
    first = await store.holder(conversation_id, TURN)
    if first is None or response_id not in ("", first):
        return False
    pause = FIRST_LOOK_S
    while await store.holder(conversation_id, TURN) == first:
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_LOOK_S)
    return True
