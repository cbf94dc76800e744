"""TCP and TLS for the HTTP client, straight on asyncio.

httpcore's own network layer goes through anyio, which enters a cancel scope and calls the selector twice for each read:
a third of the processor time of a streamed answer, where every token is a read of its own (benchmarks/llm_gateway.py).
Timeouts of reads are not for here: the caller's clocks cancel the read.
"""

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, TypeVar, cast

import httpcore2
import httpx2

_HIGH_WATER = 1 << 20
"""Bytes that may wait to be read before the sender is made to wait."""
_HEAD_START_S = 0.25
_CLOSED = "the connection is closed"
_AddressT = TypeVar("_AddressT", bound=tuple[Any, ...])


class DirectTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 without a proxy.

    Args:
        limits: of connections, and how long idle ones are kept.
    """

    def __init__(self, limits: httpx2.Limits) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=Network(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; httpcore's exceptions are passed on as they are."""
        url = request.url
        response = await self._pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        body = _Body(response.stream)
        return httpx2.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> Any:
        return aiter(self._stream)

    async def aclose(self) -> None:
        await self._stream.aclose()


class Network(httpcore2.AsyncNetworkBackend):
    """Makes connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                connection = await _connect(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(host) from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _Stream(connection)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _connect(host: str, port: int) -> "_Connection":
    """To the address that is reached first; each gets a head start over the next (RFC 8305), which asyncio's own
    `create_connection` can do, and uvloop's cannot.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def connect(address: str) -> _Connection:
        return (await loop.create_connection(_Connection, address, port))[1]

    attempts = [partial(connect, str(address[0])) for *_, address in by_turns(found)]
    connection: _Connection | None
    connection, _, errors = await staggered_race(attempts, _HEAD_START_S)
    if connection is None:
        raise next((error for error in errors if error is not None), OSError(f"{host} has no address"))
    return connection


def by_turns(found: Sequence[_AddressT]) -> list[_AddressT]:
    """Addresses, as `getaddrinfo` gives them, of one family and the other in turn: a network may have only one."""
    families: dict[Any, list[_AddressT]] = {}
    for address in found:
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]


class _Connection(asyncio.Protocol):
    """Collects what is received; one reader and one writer at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        # A peer that has vanished without a word is noticed while the connection is idle.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) > _HIGH_WATER and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.error = True, exc
        self._wake()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def read(self, most: int) -> bytes:
        if not self.received and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        if not self.received and self.error is not None:
            raise httpcore2.ReadError(str(self.error))
        data = bytes(self.received[:most])
        del self.received[:most]
        if self._paused and not self.received and not self.ended:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self.ended:
            raise httpcore2.WriteError(_CLOSED)
        self.transport.write(data)
        await self._writable.wait()
        if self.error is not None:
            raise httpcore2.WriteError(str(self.error))

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._connection.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        try:
            async with asyncio.timeout(timeout):
                await self._connection.write(buffer)
        except TimeoutError:
            raise httpcore2.WriteTimeout from None

    async def aclose(self) -> None:
        """At once: whoever is at the other end must see that nobody waits for the answer any more."""
        self._connection.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        connection = self._connection
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport = await loop.start_tls(
                    connection.transport, connection, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError:
            raise httpcore2.ConnectTimeout(server_hostname or "") from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        connection.transport = cast("asyncio.Transport", transport)
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # an idle connection that has anything to say has been closed
            return bool(self._connection.received) or self._connection.ended
        return self._connection.transport.get_extra_info(info)
