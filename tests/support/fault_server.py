"""An HTTP server on loopback that plays a provider's behaviour byte by byte, in the loop of the test.

A script is a coroutine that answers one POST through an `Exchange`; scripts are played in their order, the last one
again and again. `GET /models` is answered by itself.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL = "test-model"
Script = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request and the answer to it, as it is being written.

    Attributes:
        connection: number of the connection that it came on, from 0.
        gone: set when the client has closed the connection.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    chunked: bool = False
    keep: bool = True

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        """Begin an answer whose length is not known."""
        self.chunked = True
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.raw(
            f"HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n{more}\r\n".encode()
        )

    async def send(self, data: bytes | str) -> None:
        """More of the body, in a packet of its own."""
        data = data.encode() if isinstance(data, str) else data
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def slowly(self, data: bytes | str) -> None:
        """More of the body, one byte in each packet."""
        for byte in data.encode() if isinstance(data, str) else data:
            await self.send(bytes((byte,)))

    async def end(self) -> None:
        """The body is whole."""
        await self.raw(b"0\r\n\r\n")

    async def whole(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        """An answer in one piece."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.raw(
            f"HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n{more}\r\n".encode() + data
        )

    async def hang_up(self) -> None:
        """Close the connection, whatever was still to come."""
        self.keep = False

    async def raw(self, data: bytes) -> None:
        """Bytes as they are; the loop turns once, so that a reader in it sees them apart from the next."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()
        await asyncio.sleep(0)


class FaultServer:
    """Plays scripts; remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.exchanges: list[Exchange] = []
        self.models: Script = _list(MODEL)
        self._scripts: list[Script] = []
        self._connections = 0
        self._asked = asyncio.Event()
        self._listening: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def play(self, *scripts: Script) -> None:
        """Answer the next requests so."""
        self._scripts = list(scripts)

    @property
    def posts(self) -> list[Exchange]:
        """The requests for answers so far."""
        return [exchange for exchange in self.exchanges if exchange.method == "POST"]

    async def asked(self, count: int = 1) -> Exchange:
        """Wait for so many requests for answers; the last of them."""
        while len(self.posts) < count:
            self._asked.clear()
            await self._asked.wait()
        return self.posts[count - 1]

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Listen on a free port."""
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=tls)
        port = self._listening.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"

    async def aclose(self) -> None:
        """Hang up and listen no longer. Twice is as once."""
        if self._listening is not None:
            self._listening.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # by aclose
            await self._serve(reader, writer)
        self._serving.discard(task)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self._connections = self._connections, self._connections + 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            begun: bytes | None = b""
            while begun is not None:
                try:
                    exchange = await _read(begun, reader, writer, number)
                except (ValueError, asyncio.LimitOverrunError):  # no HTTP
                    return
                self.exchanges.append(exchange)
                self._asked.set()
                begun = await self._answer(exchange, reader)

    async def _answer(self, exchange: Exchange, reader: asyncio.StreamReader) -> bytes | None:
        """Play a script, unless the client goes first; what has come of the next request, None where none follows."""
        if exchange.method == "GET":
            script = self.models
        else:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        playing = asyncio.ensure_future(script(exchange))
        watching = asyncio.create_task(_until_gone(reader, exchange))
        await asyncio.wait((playing, watching), return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        watching.cancel()
        played, begun = await asyncio.gather(playing, watching, return_exceptions=True)
        if isinstance(played, Exception) and not isinstance(played, ConnectionError):
            raise played
        if not exchange.keep or exchange.gone.is_set():
            return None
        return begun if isinstance(begun, bytes) else b""


@contextlib.asynccontextmanager
async def fault_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[FaultServer]:
    """A server on a free port."""
    played = FaultServer()
    await played.start(tls)
    try:
        yield played
    finally:
        await played.aclose()


def models(*names: str) -> Script:
    """The answer to `GET /models` that lists these; one for a single model is told by its path."""
    return _list(*names)


def _list(*names: str) -> Script:
    async def script(exchange: Exchange) -> None:
        asked = exchange.path.partition("/models")[2].strip("/")
        if asked and asked not in names:
            await exchange.whole(404, {"error": {"message": f"no model {asked}", "code": "model_not_found"}})
            return
        await exchange.whole(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    return script


def answering(status: int, body: Any, kind: str = "application/json", **headers: str) -> Script:
    """A script that answers in one piece."""

    async def script(exchange: Exchange) -> None:
        await exchange.whole(status, body, kind, **headers)

    return script


def streaming(parts: Sequence[str | bytes], *, ends: bool = True, slowly: bool = False) -> Script:
    """A script that streams these pieces; one that does not end hangs up after them."""

    async def script(exchange: Exchange) -> None:
        await exchange.head()
        for part in parts:
            await (exchange.slowly if slowly else exchange.send)(part)
        await (exchange.end if ends else exchange.hang_up)()

    return script


def stalling(parts: Sequence[str | bytes] = (), *, head: bool = True) -> Script:
    """A script that streams these pieces and then nothing, until the client goes."""

    async def script(exchange: Exchange) -> None:
        if head:
            await exchange.head()
        for part in parts:
            await exchange.send(part)
        await exchange.gone.wait()

    return script


async def _read(begun: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> Exchange:
    head = (begun + await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, json.loads(body) if body else None, connection, writer)


async def _until_gone(reader: asyncio.StreamReader, exchange: Exchange) -> bytes:
    """A client sends nothing while it waits for an answer: what can be read is its end, or begins its next request."""
    byte = b""
    with contextlib.suppress(ConnectionError):
        byte = await reader.read(1)
    if not byte:
        exchange.gone.set()
    return byte
