"""A TCP link that breaks as told: between any client and any server on loopback, in the loop of the test.

A fault holds for the connections that there are and for those that are made while it lasts; `restore` ends it.

    async with fault_proxy(server.address) as link:
        client.connect(link.address)
        link.black_hole()
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from enum import Enum

_READ_BYTES = 64 << 10
_FLIP_EVERY = 64
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Condition(Enum):
    SOUND = "passes everything on"
    STALLED = "keeps everything"
    LATE = "passes everything on later"
    CORRUPT = "flips bits"
    BLACK_HOLE = "loses everything"


class FaultProxy:
    """One link. `target` is the `host:port` behind it, for connections made from now on."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.address = ""
        self._condition = _Condition.SOUND
        self._delay_s = 0.0
        self._changed = asyncio.Event()
        self._listening: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Connections through the link now."""
        return len(self._connections)

    def reset(self) -> None:
        """Cut every connection with an RST, as a crash or a firewall does; new ones are served."""
        for connection in tuple(self._connections):
            connection.end(reset=True)

    def close(self) -> None:
        """End every connection with a FIN in both directions; new ones are served."""
        for connection in tuple(self._connections):
            connection.end(reset=False)

    def stall(self) -> None:
        """Keep what is sent; all of it is delivered after `restore`."""
        self._become(_Condition.STALLED)

    def delay(self, seconds: float) -> None:
        """Deliver what is sent so much later, or up to twice that where more comes meanwhile."""
        self._delay_s = seconds
        self._become(_Condition.LATE)

    def corrupt(self) -> None:
        """Flip bits of what is sent, the first byte of each piece among them."""
        self._become(_Condition.CORRUPT)

    def black_hole(self) -> None:
        """Lose what is sent, and tell nobody: connections stay open, and new ones are taken."""
        self._become(_Condition.BLACK_HOLE)

    def restore(self) -> None:
        """Be sound again; connections that have lost or wronged something by then are reset."""
        self._become(_Condition.SOUND)
        for connection in tuple(self._connections):
            if connection.spoiled:
                connection.end(reset=True)

    async def start(self) -> None:
        """Listen on a free port."""
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """Cut everything, and listen no longer."""
        if self._listening is not None:
            self._listening.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _become(self, condition: _Condition) -> None:
        self._condition = condition
        self._changed.set()
        self._changed = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by aclose
                await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            their_reader, their_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _reset(writer)
            return
        connection = _Connection(writer, their_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(reader, their_writer, connection), self._pump(their_reader, writer, connection)
            )
        finally:
            self._connections.discard(connection)
            their_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: "_Connection"
    ) -> None:
        """Pass on one direction to its end; an end that is not orderly ends the whole connection."""
        try:
            while data := await reader.read(_READ_BYTES):
                writer.write(await self._suffered(data, connection))
                await writer.drain()
            while self._condition in (
                _Condition.STALLED,
                _Condition.BLACK_HOLE,
            ):  # its end does not come through either
                await self._changed.wait()
            writer.write_eof()
        except OSError:
            connection.end(reset=True)

    async def _suffered(self, data: bytes, connection: "_Connection") -> bytes:
        """What comes out at the other end of these bytes, once it does."""
        if self._condition is _Condition.LATE:
            await asyncio.sleep(self._delay_s)
        while self._condition is _Condition.STALLED:
            await self._changed.wait()
        if self._condition is _Condition.BLACK_HOLE:
            connection.spoiled = True
            return b""
        if self._condition is _Condition.CORRUPT:
            connection.spoiled = True
            return bytes(byte ^ (0 if at % _FLIP_EVERY else 0xFF) for at, byte in enumerate(data))
        return data


class _Connection:
    """Both ends of a connection through the link."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.spoiled = False

    def end(self, *, reset: bool) -> None:
        """Towards both ends, at once."""
        finish: Callable[[asyncio.StreamWriter], None] = _reset if reset else asyncio.StreamWriter.close
        for writer in self._writers:
            finish(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    if (sock := writer.get_extra_info("socket")) is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def fault_proxy(target: str) -> AsyncIterator[FaultProxy]:
    """A sound link to a `host:port`, on a free port of loopback."""
    link = FaultProxy(target)
    await link.start()
    try:
        yield link
    finally:
        await link.aclose()
