"""A web server on loopback that answers byte by byte as a test says, over http or https."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
"""The whole answer, or what writes it."""

HAS_OPENSSL = shutil.which("openssl") is not None


@dataclass
class ImageServer:
    """Where it listens, what it answers to a path, and what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    port: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The path and the headers (lower case) of each request."""
    connections: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a client has closed a connection."""

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = head[0].split(" ")[1]
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                self.requests.append((path, headers))
                answer = self.answers[path]
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def image_server(context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> AsyncIterator[ImageServer]:
    """Serve on a free port until the end; its connections end with it."""
    made = ImageServer()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(made.serve(reader, writer)))

    server = await asyncio.start_server(accept, address, 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the turn of the loop in which aborted transports let go of their sockets
        for end in ends:
            if isinstance(end, Exception):
                raise end


def ok(body: bytes, *headers: str) -> bytes:
    """An answer with a body."""
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def to(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def certificates(folder: Path, *hosts: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A small authority made for the test, with a certificate for the hosts: the server's context and a client's."""
    names = ",".join(f"DNS:{host}" for host in hosts)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    for command in (
        ("req", "-x509", *new, "-days", "2", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem"),
        ("req", *new, "-subj", "/CN=Test", "-addext", f"subjectAltName={names}", "-keyout", "key", "-out", "csr"),
        ("x509", "-req", "-in", "csr", *authority, "-days", "2", "-copy_extensions", "copy", "-out", "pem"),
    ):
        subprocess.run(("openssl", *command), cwd=folder, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "pem", folder / "key")
    return server, ssl.create_default_context(cafile=folder / "ca.pem")
