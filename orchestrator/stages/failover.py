"""The language model of one session, wherever it is: the first service, or the fallback while the first one fails.

A session keeps the history of its conversation itself (kept_history.py), so that a turn can go to a service that has
never heard of it: the conversation is created there, under the same id and with the same messages, and what was said
elsewhere meanwhile is added when the session comes back. The same history saves a session whose service has forgotten
it, as one that keeps conversations in memory does when it is restarted.

A turn goes elsewhere only while nothing of its answer has reached the session.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from parley.common.v1 import chat_pb2

from orchestrator import clock
from orchestrator.domain import SessionConfig
from orchestrator.stages.calls import when_there_is_room
from orchestrator.stages.kept_history import KeptHistory, lacking
from orchestrator.stages.language_model import GenerationEvent, GenerationStarted, History, LanguageModel, Prompt
from services.common.errors import (
    ConversationNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    ParleyError,
    UnavailableError,
    UnreachableError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)

log = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

RETURN_AFTER_S = 30.0
"""A service that failed is tried again after so long."""
SETTLE_TRIES, SETTLE_PAUSE_S = 4, 1.0
_ELSEWHERE = (UnavailableError, OverloadedError, UpstreamTimeoutError, UpstreamUnauthenticatedError)
"""Failures of a service, not of a request: another service may do better."""


@dataclass
class _Service:
    """One language model service, and how much of the history it has; None: it has no such conversation."""

    model: LanguageModel
    has: int | None = None
    avoid_until: float = 0.0
    prefills: bool = True
    deleted: list[str] = field(default_factory=list)
    """Items that it may still have, deleted while another service was asked."""


@dataclass
class _Answer:
    """A turn that is held by a service: what to keep of it once it is settled."""

    service: _Service
    asked: tuple[chat_pb2.Message, ...]
    item_id: str
    text: list[str] = field(default_factory=list)
    calls: list[chat_pb2.ToolCall] = field(default_factory=list)


_Begun = tuple[list[GenerationEvent], AsyncGenerator[GenerationEvent, None]]
"""The first events of an answer, and those that follow."""


class FailoverLanguageModel:
    """Does what `LanguageModel` does, for one session.

    Args:
        first: the service that answers where it can.
        fallback: the one to go to otherwise; None where there is no other.
        first_token_timeout_s: a service that has not begun its answer by then is too slow, where there is another.
        now: the time in seconds, monotonic.
    """

    def __init__(
        self,
        first: LanguageModel,
        fallback: LanguageModel | None,
        first_token_timeout_s: float,
        now: Callable[[], float] = clock.now,
    ) -> None:
        self._services = [_Service(model) for model in (first, fallback) if model is not None]
        self._first_token_timeout_s = first_token_timeout_s
        self._now = now
        self._conversation_id = ""
        self._history = KeptHistory()
        self._answers: dict[str, _Answer] = {}

    async def create_conversation(self, conversation_id: str) -> None:
        """Start a history under an id that nobody has used."""
        self._conversation_id = conversation_id
        await self._anywhere(self._place)

    async def open_conversation(self, conversation_id: str) -> frozenset[str]:
        """Go on with a conversation; returns its function calls that have no output.

        Raises:
            ConversationNotFoundError: there is no such conversation.
        """
        service, history = await self._read(conversation_id)
        self._conversation_id = conversation_id
        self._history.add(history.messages)
        service.has = self._history.total
        return history.pending_calls

    async def pending_calls(self) -> frozenset[str]:
        """The function calls of the history that have no output."""
        return (await self._read(self._conversation_id))[1].pending_calls

    async def check_model(self, name: str) -> None:
        """Raise ModelNotFoundError for a name that the first service does not have; empty is its default."""
        await self._services[0].model.check_model(name)

    async def append_message(self, conversation_id: str, message: chat_pb2.Message) -> None:
        """Add a message to the history without generating."""

        async def append(service: _Service) -> None:
            await self._in_place(service, lambda: service.model.append_messages(conversation_id, (message,)))

        service, _ = await self._anywhere(append)
        self._history.add((message,))
        service.has = self._history.total

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Take an item out of the history, here and at every service that has it; one that is not asked now forgets it
        before its next turn.

        Raises:
            NotFoundError: there is no such item.
        """

        async def delete(service: _Service) -> None:
            await self._in_place(service, lambda: service.model.delete_item(conversation_id, item_id))

        try:
            service, _ = await self._anywhere(delete)
        except NotFoundError:  # it may have left the service's window, and must not come back to another's
            self._forget(item_id)
            raise
        for other in self._services:
            if other is not service:
                other.deleted.append(item_id)
        self._forget(item_id)

    async def prefill(self, config: SessionConfig, conversation_id: str, words: str = "") -> int:
        """Make the service that will answer ready for the next turn, which perhaps begins with these words; returns the
        tokens that it need not read then.
        """
        service = self._in_order()[0]
        if not service.prefills:  # a call for nothing at the beginning of every utterance
            return 0
        tokens = await service.model.prefill(config, conversation_id, words)
        service.prefills = tokens > 0
        return tokens

    async def generate(self, config: SessionConfig, prompt: Prompt) -> AsyncGenerator[GenerationEvent, None]:
        """One model turn, on the first service that begins to answer; once more where that is lost, or its store loses
        the conversation, before it has said anything.

        Raises:
            ParleyError: of the last service that was tried.
        """
        said = False
        try:
            async with contextlib.aclosing(self._generate(config, prompt)) as events:
                async for event in events:
                    said = said or not isinstance(event, GenerationStarted)
                    yield event
            return
        except (UnreachableError, ConversationNotFoundError) as error:
            if said and isinstance(error, ConversationNotFoundError):
                raise UpstreamError("the language model service has lost the conversation", retry_after_s=1.0) from None
            if said:
                raise
            log.warning("language model was lost before it answered, asked again", extra={"error": str(error)})
        async with contextlib.aclosing(self._generate(config, prompt)) as events:
            async for event in events:
                yield event

    async def _generate(self, config: SessionConfig, prompt: Prompt) -> AsyncGenerator[GenerationEvent, None]:

        async def begin(service: _Service) -> _Begun:
            return await self._begin(service, config, prompt, self._first_token_timeout_s)

        async def begin_at_last(service: _Service) -> _Begun:
            return await self._begin(service, config, prompt, None)

        service, (begun, events) = await self._anywhere(begin, begin_at_last)
        answer = _Answer(service, prompt.messages, prompt.item_id)
        async with contextlib.aclosing(events):
            for event in begun:
                yield self._seen(event, answer)
            async for event in events:
                yield self._seen(event, answer)

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        """Settle a held response: what the user heard of it, or None for all of it."""
        answer = self._answers.pop(response_id, None)
        if answer is None:
            return
        said = "".join(answer.text) if heard_text is None else heard_text
        complete = answer.service.has == self._history.total
        self._history.add(answer.asked)
        calls = answer.calls if heard_text is None else []  # an answer that was cut has called nothing
        if said or calls:
            content = [chat_pb2.ContentPart(text=said)] if said else []
            role, item_id = chat_pb2.ROLE_ASSISTANT, answer.item_id if said else ""
            self._history.add((chat_pb2.Message(role=role, content=content, tool_calls=calls, item_id=item_id),))
        try:
            await answer.service.model.commit_response(conversation_id, response_id, heard_text)
        except (*_ELSEWHERE, ConversationNotFoundError) as error:
            # The history is safe here, and is put where the next turn goes.
            answer.service.has = None
            log.warning("history is kept here for now", extra={"error": str(error)})
            return
        if complete:
            answer.service.has = self._history.total

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        """Settle a held response that nobody heard: it, and the turn that asked for it, leave no trace."""
        answer = self._answers.pop(response_id, None)
        if answer is not None:
            await answer.service.model.discard_response(conversation_id, response_id)

    async def settle(self) -> None:
        """The session ends: give the first service what it lacks of the history, since a failure has kept it here.
        Tries for a moment; what another session of the conversation has added meanwhile stays as it is.

        Raises:
            ParleyError: where that cannot be.
        """
        service = self._services[0]
        for left in reversed(range(SETTLE_TRIES)):
            if not self._conversation_id or service.has == self._history.total:
                return
            try:
                await self._give(service)
            except _ELSEWHERE:
                if not left:
                    raise
                await asyncio.sleep(SETTLE_PAUSE_S)

    async def _give(self, service: _Service) -> None:
        await self._catch_up(service)
        conversation_id, history = self._conversation_id, self._history.messages
        try:
            theirs = (await service.model.history(conversation_id)).messages
        except ConversationNotFoundError:
            await service.model.create_conversation(conversation_id, history)
        else:
            lacks = lacking(theirs, history)
            if lacks and (not theirs or len(lacks) < len(history)):
                await service.model.append_messages(conversation_id, lacks)
        service.has = self._history.total

    def _forget(self, item_id: str) -> None:
        """Delete an item from what is kept, as the services do."""
        gone = self._history.delete(item_id)
        for service in self._services:
            if service.has is not None:
                service.has -= sum(at < service.has for at in gone)

    def _in_order(self) -> list[_Service]:
        """The services to try: those that failed of late come last."""
        now = self._now()
        return sorted(self._services, key=lambda service: max(0.0, service.avoid_until - now))

    def _avoid(self, service: _Service, error: ParleyError) -> None:
        service.avoid_until = self._now() + RETURN_AFTER_S
        log.warning("language model fails, the fallback answers", extra={"error": str(error)})

    def _seen(self, event: GenerationEvent, answer: _Answer) -> GenerationEvent:
        if isinstance(event, GenerationStarted) and self._conversation_id:
            self._answers[event.response_id] = answer
        elif isinstance(event, str):
            answer.text.append(event)
        elif isinstance(event, chat_pb2.ToolCall):
            answer.calls.append(event)
        return event

    async def _begin(self, service: _Service, config: SessionConfig, prompt: Prompt, timeout_s: float | None) -> _Begun:
        """Ask a service for the turn, and wait for the first of its answer."""
        if service is not self._services[0]:
            config = replace(config, llm_model="")  # a name of the first service's

        async def begin() -> _Begun:
            events = service.model.generate(config, prompt)
            return await _first_events(events, timeout_s), events

        return await (self._in_place(service, begin) if prompt.conversation_id else begin())

    async def _read(self, conversation_id: str) -> tuple[_Service, History]:
        async def read(service: _Service) -> History:
            return await service.model.history(conversation_id)

        return await self._anywhere(read)

    async def _anywhere(
        self,
        act: Callable[[_Service], Awaitable[ResultT]],
        act_at_last: Callable[[_Service], Awaitable[ResultT]] | None = None,
    ) -> tuple[_Service, ResultT]:
        """Do this at the first service that can; the last one may be asked in another way."""
        *others, last = self._in_order()
        for service in others:
            try:
                return service, await act(service)
            except _ELSEWHERE as error:
                self._avoid(service, error)
        return last, await when_there_is_room(lambda: (act_at_last or act)(last))

    async def _in_place(self, service: _Service, act: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """Do this where the service has the whole history; once more where it turns out to have forgotten it."""
        await self._catch_up(service)
        if service.has != self._history.total:
            await self._place(service)
        try:
            return await act()
        except ConversationNotFoundError:
            await self._place(service, forgotten=True)
            return await act()

    async def _catch_up(self, service: _Service) -> None:
        """Delete what was deleted elsewhere."""
        while service.deleted:
            with contextlib.suppress(NotFoundError):  # it never had it, or shares its store with the other
                await service.model.delete_item(self._conversation_id, service.deleted[0])
            del service.deleted[0]

    async def _place(self, service: _Service, *, forgotten: bool = False) -> None:
        """Give the service what it lacks of the history."""
        conversation_id, history = self._conversation_id, self._history.messages
        lacks = self._history.since(service.has or 0)
        if service.has is None or forgotten:
            try:
                await service.model.create_conversation(conversation_id, history)
                lacks = ()
            except InvalidArgumentError as error:
                if error.field != "session.conversation_id":
                    raise
                # It has the conversation: services may share a store, or the call that failed did its work after all.
                lacks = lacking((await service.model.history(conversation_id)).messages, history)
        if lacks:
            await service.model.append_messages(conversation_id, lacks)
        service.has = self._history.total


async def _first_events(
    events: AsyncGenerator[GenerationEvent, None], timeout_s: float | None
) -> list[GenerationEvent]:
    """All up to the first event of the answer itself; where there is none in time, the generator is closed.

    Without a timeout the first event of all is enough: the service has taken the turn.

    Raises:
        UpstreamTimeoutError: it did not begin in time.
    """
    begun: list[GenerationEvent] = []
    try:
        async with asyncio.timeout(timeout_s):
            async for event in events:
                begun.append(event)
                if timeout_s is None or not isinstance(event, GenerationStarted):
                    break
    except BaseException as error:
        await events.aclose()
        if isinstance(error, TimeoutError):
            raise UpstreamTimeoutError("the language model service did not begin its answer in time") from None
        raise
    return begun
