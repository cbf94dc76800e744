"""The connections to a provider: real sockets of this machine, on the event loop that the servers run on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpcore2
import pytest

from services.common import event_loop
from services.llm.backends.api.network import Network, by_turns

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


def connect(port: int, *addresses: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The peer of a connection to a name with these addresses."""
    peers = []

    async def main() -> None:
        async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            return [(V4, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        stream = await Network().connect_tcp("provider.example", port, timeout=5.0)
        peers.append(stream.get_extra_info("socket").getpeername())
        await stream.aclose()

    event_loop.run(main())
    return peers[0]


def test_an_address_that_refuses_is_followed_by_the_next(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = listening.getsockname()
    assert connect(here[1], "127.0.0.2", "127.0.0.3", here[0], monkeypatch=monkeypatch) == here


@pytest.mark.parametrize("addresses", [(), ("127.0.0.2", "127.0.0.3")])
def test_a_name_that_leads_nowhere_is_an_error(
    addresses: tuple[str, ...], listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(httpcore2.ConnectError):
        connect(listening.getsockname()[1], *addresses, monkeypatch=monkeypatch)


def test_the_families_of_addresses_take_turns() -> None:
    found = [(V6, 1), (V6, 2), (V6, 3), (V4, 4)]
    assert by_turns(found) == [(V6, 1), (V4, 4), (V6, 2), (V6, 3)]
