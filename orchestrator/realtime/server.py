"""The HTTP server of the bridge: the WebSocket endpoint, and the web page that uses it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from orchestrator.realtime.protocols import HttpProtocol, WebSocketProtocol
from orchestrator.realtime.socket import METHOD, RealtimeEndpoint, denial
from orchestrator.sessions import Sessions
from services.common.errors import ParleyError, port_taken
from services.common.tls import ServerTls

log = logging.getLogger(__name__)

WEB = Path(__file__).resolve().parents[2] / "clients" / "web"
_PING_S = 20.0
"""Seconds between two signs of life, and until one that is not answered ends the connection."""
_BACKLOG = 1024


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
                http=HttpProtocol,
                ws=WebSocketProtocol,
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
            raise port_taken("serve Realtime clients", self._host, self._port, "realtime_port") from None
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


class _Server(uvicorn.Server):
    """Leaves the process's signals to `services/common/server.py`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
