"""Where all live sessions of a server are, whatever their clients speak: admitted, watched, counted and closed here."""

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

from orchestrator.domain import SessionConfig
from orchestrator.live import LiveSession, SessionOptions
from orchestrator.metrics import TurnMetrics
from orchestrator.stages import Services
from orchestrator.watchdog import Guard, Watchdog
from services.common import logs
from services.common.access.access import owner as caller_owner
from services.common.admission import AdmissionQueue
from services.common.errors import ConversationBusyError, ParleyError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sessions:
    """What the sessions of a server share; `places` bounds how many clients are served at a time.

    A conversation has one session: whoever opens it anew takes it over, since most often that is the same client after
    a cut of its network, whose old session does not know yet. Other servers' sessions are not known here. Where callers
    have tokens, a conversation belongs to the one who began it: to others it does not exist.
    """

    services: Services
    places: AdmissionQueue
    options: SessionOptions
    watchdog: Watchdog
    metrics: TurnMetrics
    _holders: dict[tuple[str, str], LiveSession] = field(default_factory=dict)
    """The session of each owner's conversations."""

    @contextlib.asynccontextmanager
    async def open(
        self,
        config: SessionConfig,
        conversation_id: str,
        drop: Callable[[ParleyError], None],
        *,
        continue_calls: bool = True,
    ) -> AsyncIterator[tuple[LiveSession, Guard]]:
        """A live session, for a client that has a place; all that it does has ended when the block ends.

        Args:
            config: at the beginning.
            conversation_id: the conversation to go on with; empty for a new one.
            drop: ends the serving of a client that does not read.
            continue_calls: whether outputs of functions are answered by themselves.

        Raises:
            ParleyError: for a name that is not known, or a service that is down.
        """
        # The id is chosen here: every call about a conversation carries it, which is how they find one replica.
        session_id, resume = new_id("session"), bool(conversation_id)
        conversation_id = conversation_id or new_id("conv")
        with logs.ids(session_id=session_id, conversation_id=conversation_id), self.metrics.session():
            options = replace(self.options, continue_calls=continue_calls)
            owner = caller_owner()
            session = LiveSession(self.services.for_session(owner), session_id, config, options, self.metrics)
            await session.open(conversation_id, resume=resume)
            log.info("session opened")
            held = (owner, conversation_id)
            if (former := self._holders.get(held)) is not None:
                former.end(ConversationBusyError("the conversation goes on in another session"))
            self._holders[held] = session
            try:
                with self.watchdog.watch(drop, session) as guard:
                    yield session, guard
            finally:
                if self._holders.get(held) is session:
                    del self._holders[held]
                await session.aclose()
                log.info("session closed")


def new_id(kind: str) -> str:
    """An id of this kind that nobody else has."""
    return f"{kind}_{uuid.uuid4().hex[:16]}"
