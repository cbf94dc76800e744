"""Uvicorn's protocols, but that no connection is held for nothing, and that a client which breaks the rules is told so
and is no error of the server's.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from orchestrator.realtime.errors import CLOSE_NO_TEXT
from orchestrator.realtime.socket import ABORT

_REQUEST_S = 10.0
"""Seconds in which a connection must have become a WebSocket, or be answering a request."""
_LINGER_S = 1.0
"""Seconds until a connection is cut on which nothing can be understood any more."""
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HttpProtocol(H11Protocol):
    """Closes a connection on which no request comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def _wait(self) -> None:
        self.loop.call_later(_REQUEST_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self._wait()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Lets the endpoint cut a connection, since closing waits for a client that does not read; says why it closes."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:
            super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:  # too long, or with a body
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
            self.transport.close()

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
