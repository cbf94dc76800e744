"""Connections of the bridge on which no request comes, or one that is none. Time is virtual."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from orchestrator.realtime.protocols import HttpProtocol, WebSocketProtocol

ASKS = b"GET / HTTP/1.1\r\nHost: a\r\n"
UPGRADES = (
    ASKS + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Transport(asyncio.Transport):
    """A connection whose client takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.protocol: Any = None
        self.closed_at: float | None = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed_at = asyncio.get_running_loop().time()

    def pause_reading(self) -> None:
        """Nothing more comes anyway."""

    def resume_reading(self) -> None:
        """Nothing more comes anyway."""


async def opened(*data: bytes, answer_s: float = 0.0) -> Transport:
    """A connection on which these bytes came a while ago, to an application that takes so long to answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(answer_s)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await asyncio.sleep(3600)
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, ws=WebSocketProtocol, log_config=None)
    connection = HttpProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    transport = Transport()
    transport.set_protocol(connection)
    connection.connection_made(transport)
    for piece in data:
        transport.get_protocol().data_received(piece)
    await asyncio.sleep(15)
    return transport


@pytest.mark.parametrize("data", [(), (b"G",), (ASKS,), (UPGRADES,)])
async def test_a_connection_without_a_whole_request_is_closed(data: tuple[bytes, ...]) -> None:
    begun = asyncio.get_running_loop().time()
    transport = await opened(*data)
    assert transport.closed_at == begun + 10


async def test_a_request_is_answered_however_long_it_takes() -> None:
    transport = await opened(ASKS + b"\r\n", answer_s=12)
    assert transport.sent.startswith(b"HTTP/1.1 204")


async def test_a_websocket_stays() -> None:
    transport = await opened(UPGRADES + b"\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 101")
    assert not transport.is_closing()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"X: " + b"a" * 9000 + b"\r\n", b"431"),
        (b"".join(b"X-%d: a\r\n" % number for number in range(200)), b"431"),
        (b"Content-Length: 1\r\n", b"400"),
    ],
)
async def test_a_handshake_that_is_none_is_refused_at_once(more: bytes, status: bytes) -> None:
    begun = asyncio.get_running_loop().time()
    transport = await opened(UPGRADES + more + b"\r\n")
    assert transport.sent.startswith(b"HTTP/1.1 " + status)
    assert transport.closed_at == begun
