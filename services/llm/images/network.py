"""Connections to public addresses alone: the address that is checked is the one that is connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor

from httpcore2 import SOCKET_OPTION as SocketOption
from httpcore2 import AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream, ConnectError

from services.llm.images.addresses import is_public
from services.llm.images.limits import ImageError

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host for a port, the best one first; raises OSError where it has none."""

_MAX_ADDRESSES = 4
"""Addresses of one host that are tried."""


class PublicNetwork(AsyncNetworkBackend):
    """Opens connections for an HTTP library, which goes on speaking to the host by its name (Host, SNI, certificate).

    Names are resolved here, once for a connection, and the connection goes to an address that was looked at: a name
    that changes its answer in between (DNS rebinding) gains nothing. One address that is not public condemns the host.

    Args:
        resolve: finds the addresses of a host.
        allow_private: connects to any address.
        sockets: connects to a literal address.
    """

    def __init__(self, resolve: Resolve, *, allow_private: bool, sockets: AsyncNetworkBackend | None = None) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._sockets = sockets or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to the first address that answers.

        Raises:
            ImageError: the host has no address, or one that is not public.
            ConnectError: no address answers.
        """
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):  # a label that is too long is a UnicodeError to the resolver
            addresses = []
        # One message for both: whether a name exists in the network here is nobody's business.
        if not addresses or not (self._allow_private or all(is_public(address) for address in addresses)):
            raise ImageError("leads to a host that is unknown or not public")
        failure: Exception = ConnectError("no address answers")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except ConnectError as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[SocketOption] | None = None,
    ) -> AsyncNetworkStream:
        """Never: no URL leads there.

        Raises:
            ImageError: always.
        """
        raise ImageError("leads to no host")

    async def sleep(self, seconds: float) -> None:
        """Wait, between two attempts of the HTTP library."""
        await asyncio.sleep(seconds)


def system_resolver(executor: Executor) -> Resolve:
    """Resolves as the system does. On threads of its own: names that take for ever keep nobody else waiting."""

    async def resolve(host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(executor, socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    return resolve
