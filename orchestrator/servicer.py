"""VoiceAgentService: live sessions and single turns, between the contract and `live.py` / `single.py`."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc

from orchestrator.convert import converse_response, merge_config, respond_request, respond_response
from orchestrator.domain import Failure, SessionConfig
from orchestrator.live import LiveSession
from orchestrator.sessions import Sessions, new_id
from orchestrator.single import respond
from services.common import logs, tracing
from services.common.access.access import count_audio, owner
from services.common.errors import InvalidArgumentError, ParleyError
from services.common.status import to_status
from services.common.wire import check_id, seconds

FIRST_EVENT_S = 10.0
"""A client that opens a session and says nothing holds its place no longer."""
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class VoiceAgentServicer(agent_service_pb2_grpc.VoiceAgentServiceServicer):
    """See the contract."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._telling: set[asyncio.Task[None]] = set()

    async def Converse(
        self, request_iterator: AsyncIterator[pb.ConverseRequest], context: _Context
    ) -> AsyncIterator[pb.ConverseResponse]:
        """Hold a live conversation."""
        async with self._sessions.places.admit():
            first = await _first(request_iterator)
            if first is None:
                return
            config, conversation_id = _opening(first)
            async with self._sessions.open(config, conversation_id, self._dropper(context)) as (session, guard):
                reader = asyncio.create_task(_read(request_iterator, session))
                event_ids = (f"event_{number}" for number in itertools.count(1))
                try:
                    async for event in session.outbox:
                        guard.handed()
                        yield converse_response(event, next(event_ids))
                        guard.taken()
                    await reader
                finally:
                    reader.cancel()
                    await asyncio.gather(reader, return_exceptions=True)

    async def Respond(self, request: pb.RespondRequest, context: _Context) -> AsyncIterator[pb.RespondResponse]:
        """Run one turn."""
        turn = respond_request(request)
        if turn.audio is not None:
            count_audio(len(turn.audio) / turn.config.input_format.bytes_per_second)
        sessions = self._sessions
        async with sessions.places.admit():
            with (
                logs.ids(session_id=new_id("session"), conversation_id=turn.conversation_id),
                tracing.begin("turn", {"gen_ai.conversation.id": turn.conversation_id or None}) as trace,
            ):
                stages = sessions.services.for_session(owner())
                answering = respond(stages, turn, sessions.options.turn, sessions.metrics, trace)
                with sessions.watchdog.watch(self._dropper(context)) as guard:
                    async with contextlib.aclosing(answering) as events:
                        async for event in events:
                            guard.handed()
                            yield respond_response(event)
                            guard.taken()

    def _dropper(self, context: _Context) -> Callable[[ParleyError], None]:
        """What ends the call that the current task serves, while a message to its client is stuck.

        The status goes behind that message: a client that reads again after all learns why the call has ended.
        """
        task = asyncio.current_task()
        assert task is not None

        async def tell(error: ParleyError) -> None:
            with contextlib.suppress(grpc.aio.AbortError):
                await context.abort_with_status(to_status(error))

        def drop(error: ParleyError) -> None:
            self._telling.add(telling := asyncio.create_task(tell(error)))
            telling.add_done_callback(self._telling.discard)
            asyncio.get_running_loop().call_soon(task.cancel)

        return drop


async def _read(requests: AsyncIterator[pb.ConverseRequest], session: LiveSession) -> None:
    """Pass each client event on; one that is wrong is answered with an error event, and the session lives on."""
    try:
        async for request in requests:
            try:
                await _handle(request, session)
            except ParleyError as error:
                session.outbox.put(Failure(error, request.event_id))
        await session.finish()
    finally:
        session.outbox.close()


async def _handle(request: pb.ConverseRequest, session: LiveSession) -> None:
    kind = request.WhichOneof("event")
    if kind == "input_audio_buffer_append":
        await session.append_audio(request.input_audio_buffer_append.audio)
    elif kind == "input_audio_buffer_commit":
        await session.commit_audio()
    elif kind == "input_audio_buffer_clear":
        session.clear_audio()
    elif kind == "response_create":
        session.create_response()
    elif kind == "response_cancel":
        session.cancel_response(request.response_cancel.response_id)
    elif kind == "conversation_item_create":
        session.create_item(request.conversation_item_create.item, request.event_id)
    elif kind == "conversation_item_truncate":
        truncate = request.conversation_item_truncate
        session.truncate(truncate.item_id, seconds(truncate.audio_end))
    elif kind == "conversation_item_delete":
        session.delete_item(request.conversation_item_delete.item_id, request.event_id)
    elif kind == "session_update":
        update = request.session_update.session
        if update.conversation_id not in ("", session.conversation_id):
            raise InvalidArgumentError("can only be set by the first event", field="session.conversation_id")
        config = replace(session.config, tools=()) if request.session_update.clear_tools else session.config
        await session.update(merge_config(config, update))
    else:
        raise InvalidArgumentError("one of the events must be set", field="event")


async def _first(requests: AsyncIterator[pb.ConverseRequest]) -> pb.ConverseRequest | None:
    try:
        async with asyncio.timeout(FIRST_EVENT_S):
            return await anext(requests, None)
    except TimeoutError:
        raise InvalidArgumentError(f"must come within {FIRST_EVENT_S:g} s", field="session_update") from None


def _opening(first: pb.ConverseRequest) -> tuple[SessionConfig, str]:
    if first.WhichOneof("event") != "session_update":
        raise InvalidArgumentError("must be the first event", field="session_update")
    opening = first.session_update.session
    check_id(opening.conversation_id, "session.conversation_id")
    return merge_config(SessionConfig(), opening), opening.conversation_id
