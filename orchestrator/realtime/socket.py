"""One client's WebSocket, from its handshake to its end."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from orchestrator.live import LiveSession
from orchestrator.realtime.client import RealtimeClient
from orchestrator.realtime.client_events import event_id_of
from orchestrator.realtime.errors import CLOSE_INTERNAL, close_code, error_json
from orchestrator.realtime.event_json import read_json
from orchestrator.realtime.models import BadEventError
from orchestrator.realtime.names import with_names_of_this_server
from orchestrator.realtime.server_events import ServerEvents
from orchestrator.realtime.session_config import session_config
from orchestrator.realtime.session_object import Session
from orchestrator.sessions import Sessions
from orchestrator.watchdog import Guard
from services.common.access.access import Access
from services.common.client_security import AUTHORIZATION, BEARER
from services.common.errors import (
    OverloadedError,
    ParleyError,
    ServerDrainingError,
    UnauthenticatedError,
    UnavailableError,
)
from services.common.interceptor import Call, Gate
from services.common.metrics import ServerMetrics
from services.common.status import INTERNAL_MESSAGE, code_of
from services.common.wire import check_id

log = logging.getLogger(__name__)

METHOD = "/v1/realtime"
"""As in the metrics of calls."""
SUBPROTOCOL = "realtime"
"""What browsers offer beside their key; a browser closes a connection whose server chooses none of its offers."""
ABORT = "parley.abort"
"""In an ASGI scope: what cuts the connection at once."""
TOKEN_OFFER = "openai-insecure-api-key."
"""Begins the subprotocol with which a browser, which can set no header, offers its token; OpenAI's name for it."""
_REFUSED_EARLY = (UnauthenticatedError, OverloadedError, UnavailableError)
_GONE = (WebSocketDisconnect, WebSocketDisconnected)
"""The client has gone: found out by this sending, or by another before."""
_BUSY, _UNAVAILABLE, _FORBIDDEN, _UNAUTHORIZED = 429, 503, 403, 401


class RealtimeEndpoint:
    """Serves clients: the same places, gate and metrics as for gRPC clients.

    Args:
        origins: web sites beside the server's own whose pages may connect; "*" is all.
        access: who may connect; None lets anybody.
    """

    def __init__(
        self,
        sessions: Sessions,
        gate: Gate,
        metrics: ServerMetrics,
        origins: frozenset[str],
        access: Access | None = None,
    ) -> None:
        self._sessions, self._gate, self._metrics, self._origins = sessions, gate, metrics, origins
        self._access = access
        self._live: set[LiveSession] = set()

    async def serve(self, socket: WebSocket) -> None:
        """Serve one client; what is refused for want of room is refused at the handshake, all else in an event."""
        if not self._may_connect(socket):
            error = error_json(BadEventError("pages of this site may not connect", field="Origin"))
            await socket.send_denial_response(JSONResponse({"error": error}, _FORBIDDEN))
            return
        call = Call(self._gate, self._metrics, METHOD)
        with call:
            try:
                self._gate.check()
                with await self.admit(socket):
                    async with self._sessions.places.admit():
                        await self._accepted(socket, call)
            except _REFUSED_EARLY as error:
                call.code = code_of(error).name
                log.info("call refused", extra={"method": METHOD, "reason": error.reason, "error": str(error)})
                await socket.send_denial_response(denial(error))

    async def admit(self, connection: HTTPConnection) -> contextlib.AbstractContextManager[None]:
        """Let a client in whose token is good, and hold its place inside the returned context.

        Raises:
            UnauthenticatedError: no token, or none that is good.
            QuotaExceededError: the caller has used what it may.
        """
        if self._access is None:
            return contextlib.nullcontext()
        offered = (offer.removeprefix(TOKEN_OFFER) for offer in _offers(connection) if offer.startswith(TOKEN_OFFER))
        authorization = connection.headers.get(AUTHORIZATION) or BEARER + next(offered, "")
        return await self._access.admit(authorization)

    def drain(self) -> None:
        """End the sessions that are still there."""
        for session in self._live:
            session.end(ServerDrainingError("the server is shutting down", retry_after_s=1.0))

    def _may_connect(self, socket: WebSocket) -> bool:
        """Whether the page that asks (browsers name its site, other clients do not) is of this server, or allowed."""
        origin = socket.headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        return urlsplit(origin).netloc == socket.headers.get("host")

    async def _accepted(self, socket: WebSocket, call: Call) -> None:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in _offers(socket) else None)
        try:
            await self._serve(socket)
        except ParleyError as error:
            call.code = code_of(error).name
            log.info("session ended", extra={"reason": error.reason, "error": str(error)})
            await _end(socket, error, close_code(error))
        except _GONE:
            call.code = "CANCELLED"
        except _Dropped as dropped:
            call.code = code_of(dropped.error).name
        except Exception:
            call.code = "INTERNAL"
            log.exception("session failed")
            await _end(socket, ParleyError(INTERNAL_MESSAGE), CLOSE_INTERNAL)

    async def _serve(self, socket: WebSocket) -> None:
        query = socket.query_params
        wanted = Session(model=query.get("model") or None)
        config = await with_names_of_this_server(session_config(wanted), self._sessions.services)
        conversation_id = query.get("conversation_id", "")
        check_id(conversation_id, "conversation_id")
        with _dropper(socket) as drop:
            async with self._sessions.open(config, conversation_id, drop, continue_calls=False) as (session, guard):
                await self._converse(socket, session, guard, wanted)

    async def _converse(self, socket: WebSocket, session: LiveSession, guard: Guard, wanted: Session) -> None:
        extensions = socket.query_params.get("parley_events") == "true"
        told = ServerEvents(session.session_id, session.conversation_id, extensions=extensions)
        told.session = wanted
        client = RealtimeClient(session, self._sessions.services, told)
        reader = asyncio.create_task(_read(socket, session, client, told))
        self._live.add(session)
        try:
            await _write(socket, session, guard, told)
            await reader
        finally:
            self._live.discard(session)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


def denial(error: ParleyError) -> Response:
    """What a client is told that is not let in."""
    body = {"error": error_json(error)}
    if isinstance(error, UnauthenticatedError):
        return JSONResponse(body, _UNAUTHORIZED, {"WWW-Authenticate": BEARER.strip()})
    status = _BUSY if isinstance(error, OverloadedError) else _UNAVAILABLE
    return JSONResponse(body, status, {"Retry-After": f"{max(1, round(error.retry_after_s or 0))}"})


def _offers(connection: HTTPConnection) -> list[str]:
    offers: list[str] = connection.scope.get("subprotocols", [])
    return offers


async def _write(socket: WebSocket, session: LiveSession, guard: Guard, told: ServerEvents) -> None:
    """Send what the session says, to its end."""
    async for event in session.outbox:
        for text in told.of(event):
            guard.handed()
            await socket.send_text(text)
            guard.taken()


async def _read(socket: WebSocket, session: LiveSession, client: RealtimeClient, told: ServerEvents) -> None:
    """Carry out each event of the client's; one that is wrong is answered with an error, and the session lives on."""
    try:
        while (frame := await socket.receive())["type"] != "websocket.disconnect":
            event_id = ""
            try:
                text = frame.get("text")
                if text is None:
                    raise BadEventError("binary frames have no meaning here: audio goes into JSON, as base64")
                value = read_json(text)
                event_id = event_id_of(value)
                answers = await client.handle(value)
            except ParleyError as error:
                answers = told.error(error, event_id)
            for answer in answers:
                await socket.send_text(answer)
    finally:
        session.outbox.close()


async def _end(socket: WebSocket, error: ParleyError, code: int) -> None:
    """Tell the client why, and close."""
    told = ServerEvents("", "", extensions=False)
    try:
        for text in told.error(error):
            await socket.send_text(text)
        await socket.close(code, error.reason.lower())
    except _GONE:
        log.info("the client has gone before it could be told")


class _Dropped(Exception):
    """The client was dropped."""

    def __init__(self, error: ParleyError) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def _dropper(socket: WebSocket) -> Iterator[Callable[[ParleyError], None]]:
    """What ends the serving of a client that does not read: nothing can be told to it, so its connection is cut.

    Raises:
        _Dropped: where that has happened.
    """
    task = asyncio.current_task()
    assert task is not None
    serving, reasons = task, list[ParleyError]()

    def drop(error: ParleyError) -> None:
        reasons.append(error)
        socket.scope[ABORT]()
        serving.cancel()

    try:
        yield drop
    except asyncio.CancelledError:
        if not reasons or serving.uncancel():
            raise
        raise _Dropped(reasons[0]) from None
