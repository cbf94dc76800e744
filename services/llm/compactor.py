"""Summarizes older turns with extra calls of the model, in the background."""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from services.common import logs
from services.common.errors import ConversationNotFoundError, ParleyError, UpstreamError
from services.llm.backends.base import Backend
from services.llm.conversation.compaction import plan
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.ids import new_id
from services.llm.conversation.summary import (
    LONGEST_LEAD_IN,
    MAX_TOKENS,
    MAX_TOKENS_ELSEWHERE,
    check_beginning,
    parse,
    request,
)
from services.llm.domain import FinishReason, GenerationRequest
from services.llm.idle import Idle
from services.llm.metrics import CompactionMetrics
from services.llm.turn import Turn

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Conversations that are summarized at a time."""
FIRST_RETRY_S, LAST_RETRY_S = 2.0, 300.0
"""A conversation is left alone after a failure: twice as long each time."""
_REMEMBERED_FAILURES = 10_000


@dataclass(frozen=True)
class _Failure:
    count: int
    retry_at: float


class Compactor:
    """Looks at conversations when they change; summarizes one at a time of each, and gives way to turns.

    A summary that fails changes nothing: the window pushes out its oldest turns meanwhile, which wait for the next
    attempt beside it.

    Args:
        backend: the model that answers the turns, too.
        conversations: whose changes it looks at from now on.
        idle: when the model has time.
        timeout_s: seconds of one attempt at work; one that gives way to a turn begins anew.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        backend: Backend,
        conversations: Conversations,
        idle: Idle,
        metrics: CompactionMetrics,
        *,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._conversations = conversations
        self._idle = idle
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._clock = clock
        self._name = new_id("compactor")
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: OrderedDict[str, _Failure] = OrderedDict()
        self._closed = False
        conversations.on_change = self.consider

    def consider(self, conversation: Conversation) -> None:
        """Begin where there is something to summarize; never waits."""
        if self._closed or not conversation.compact or conversation.id in self._tasks:
            return
        failure = self._failures.get(conversation.id)
        if failure is not None and failure.retry_at > self._clock():
            return
        if plan(conversation) is None:
            return
        # Not in the context of the turn whose end this is: its ids would stand in the log.
        work = self._run(conversation.id)
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks[conversation.id] = task

    async def settled(self) -> None:
        """Wait until nothing is being summarized."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def aclose(self) -> None:
        """Stop at once; the histories stay as they are."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, conversation_id: str) -> None:
        begun, outcome = self._clock(), "failed"
        try:
            with logs.ids(conversation_id=conversation_id):
                async with self._places:
                    outcome = await self._idle.run(lambda: self._attempt(conversation_id))
                self._failures.pop(conversation_id, None)
                log.info("compaction ended", extra={"outcome": outcome, "seconds": round(self._clock() - begun, 3)})
        except ConversationNotFoundError:
            outcome = "deleted"
            self._failures.pop(conversation_id, None)
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        except Exception as error:  # noqa: BLE001  whatever went wrong, turns go on
            self._back_off(conversation_id, error)
        finally:
            del self._tasks[conversation_id]
            self._metrics.ended(outcome, self._clock() - begun)

    async def _attempt(self, conversation_id: str) -> str:
        """One attempt, on the conversation as it is now; returns what became of it."""
        try:
            return await self._summarize(conversation_id)
        except asyncio.CancelledError:
            if not self._closed:
                self._metrics.gave_way()
            raise

    async def _summarize(self, conversation_id: str) -> str:
        async with asyncio.timeout(self._timeout_s):
            planned = plan(await self._conversations.get(conversation_id))
            if planned is None:
                return "needless"
            if not await self._conversations.claim_compaction(conversation_id, self._name, self._timeout_s):
                return "elsewhere"
            able = self._backend.capabilities
            limit = MAX_TOKENS if able.in_process else MAX_TOKENS_ELSEWHERE
            asked = request(planned, able.context_length_tokens, limit)
            answer, cut_short = await self._generate(asked)
            summary = parse(answer, cut_short=cut_short)
            done = await self._conversations.summarize(conversation_id, planned, summary)
            return "done" if done else "outdated"

    async def _generate(self, asked: GenerationRequest) -> tuple[str, bool]:
        """The model's answer without its thinking, and whether it ended at the limit of tokens."""
        turn, undecided = Turn(None), True
        async with contextlib.aclosing(self._backend.generate(asked)) as events:
            async for event in events:
                turn.feed(event)
                if undecided and len(beginning := _text(turn)) > LONGEST_LEAD_IN:
                    undecided = False
                    check_beginning(beginning)
        if turn.finished is None:
            raise UpstreamError("the model's answer broke off")
        return _text(turn), turn.finished.reason is FinishReason.LENGTH

    def _back_off(self, conversation_id: str, error: Exception) -> None:
        known = self._failures.pop(conversation_id, None)
        count = known.count + 1 if known else 1
        delay = min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(count - 1, 16))
        self._failures[conversation_id] = _Failure(count, self._clock() + delay)
        while len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)
        expected = isinstance(error, ParleyError | TimeoutError)
        log.warning(
            "compaction failed",
            extra={
                "conversation_id": conversation_id,
                "failures": count,
                "retry_after_s": delay,
                "error": str(error) if isinstance(error, ParleyError) else type(error).__name__,
            },
            exc_info=None if expected else error,
        )


def _text(turn: Turn) -> str:
    return "".join(message.text for message in turn.answer())
