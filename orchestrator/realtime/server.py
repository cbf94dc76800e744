"""The HTTP server of the bridge: the WebSocket endpoint, and the web page that uses it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orchestrator.realtime.errors import CLOSE_NO_TEXT
from orchestrator.realtime.socket import ABORT, METHOD, RealtimeEndpoint, denial
from orchestrator.sessions import Sessions
from services.common.errors import ParleyError, StartupError
from services.common.tls import ServerTls

log = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"
_PING_S = 20.0
"""Seconds between two signs of life, and until one that is not answered ends the connection."""
_BACKLOG = 1024
_LINGER_S = 1.0
"""Seconds until a connection is cut on which nothing can be understood any more."""


class RealtimeServer:
    """Serves on one port from `start` to `aclose`.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        max_event_bytes: largest event accepted.
        tls: what it shows to clients; None for no TLS.
    """

    def __init__(
        self,
        endpoint: RealtimeEndpoint,
        sessions: Sessions,
        host: str,
        port: int,
        max_event_bytes: int,
        tls: ServerTls | None = None,
    ) -> None:
        self._endpoint, self._sessions, self._host, self._port = endpoint, sessions, host, port
        self._scheme = "http" if tls is None else "https"
        app = Starlette(
            routes=[
                WebSocketRoute(METHOD, endpoint.serve),
                Route("/v1/voices", self._voices),
                Mount("/", StaticFiles(directory=WEB, html=True)),
            ]
        )
        self._server = _Server(
            uvicorn.Config(
                app,
                ws=_Protocol,
                ws_max_size=max_event_bytes,
                ws_ping_interval=_PING_S,
                ws_ping_timeout=_PING_S,
                ws_per_message_deflate=False,  # base64 of noise: it costs much and saves little
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level=logging.WARNING,
                timeout_graceful_shutdown=1,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls.http_context(),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen.

        Raises:
            StartupError: where the port is taken.
        """
        try:
            listener = socket.create_server((self._host, self._port), backlog=_BACKLOG)
        except OSError:
            raise StartupError(
                f"cannot serve Realtime clients on {self._host}:{self._port}; is the port taken? "
                "Choose another --realtime_port"
            ) from None
        self._serving = asyncio.create_task(self._server.serve([listener]))
        port = listener.getsockname()[1]
        url = f"{self._scheme}://{self._host}:{port}/"
        log.info("realtime bridge listening", extra={"realtime_port": port, "url": url})

    async def aclose(self) -> None:
        """End the sessions that are still there, and stop."""
        self._endpoint.drain()
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving

    async def _voices(self, request: Request) -> Response:
        """The voices of the text-to-speech service, for a page to choose from."""
        try:
            with await self._endpoint.admit(request):
                voices = await self._sessions.services.tts.voices()
        except ParleyError as error:
            return denial(error)
        return JSONResponse(
            {"voices": [{"name": voice.name, "languages": list(voice.language_codes)} for voice in voices]}
        )


class _Protocol(WebSocketsSansIOProtocol):
    """Uvicorn's, but that the endpoint can cut a connection, since closing waits for a client that does not read; and
    that a client that breaks the protocol's rules is told so, and is no error of the server's.
    """

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:
            super().data_received(data)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent and not _is_utf8(self.frames):
            self.conn.send_close(CLOSE_NO_TEXT, "a text frame must be UTF-8")
            self._closes(self.close_timeout)
        else:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        self._closes(_LINGER_S)

    def _closes(self, wait_s: float) -> None:
        """Tell the client why, and read what it still sends: to cut the connection at once would lose the reason."""
        closed = self.conn.close_sent
        assert closed is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(wait_s, self.transport.close)

    async def send(self, message: Any) -> None:
        if self.close_sent:  # as the protocol found, or since pings are not answered
            raise ClientDisconnected
        await super().send(message)


def _is_utf8(frames: list[bytes]) -> bool:
    try:
        b"".join(frames).decode()
    except UnicodeDecodeError:
        return False
    return True


class _Server(uvicorn.Server):
    """Leaves the process's signals to `services/common/server.py`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
