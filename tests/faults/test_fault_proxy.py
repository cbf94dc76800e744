"""The link that the other tests break: what each fault looks like from both ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.fault_proxy import FaultProxy, fault_proxy

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def linked() -> AsyncIterator[tuple[FaultProxy, Ends, Ends]]:
    """A link, its client's end, and its server's end."""
    accepted: asyncio.Queue[Ends] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    async with server, fault_proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as link:
        host, _, port = link.address.rpartition(":")
        client = await asyncio.open_connection(host, int(port))
        ends = await accepted.get()
        while not link.connections:
            await asyncio.sleep(0)
        try:
            yield link, client, ends
        finally:
            client[1].transport.abort()
            ends[1].transport.abort()


async def test_a_sound_link_passes_everything_on_and_ends_each_direction_by_itself() -> None:
    async with linked() as (link, (_, to_server), (at_server, to_client)):
        to_server.write(b"question")
        to_server.write_eof()
        assert await at_server.read() == b"question"
        to_client.write(b"answer")
        assert link.connections == 1


async def test_a_reset_is_an_error_at_both_ends() -> None:
    async with linked() as (link, (at_client, _), (at_server, _)):
        link.reset()
        for reader in (at_client, at_server):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        while link.connections:
            await asyncio.sleep(0)


async def test_a_close_is_an_orderly_end_at_both_ends() -> None:
    async with linked() as (link, (at_client, _), (at_server, _)):
        link.close()
        assert await at_client.read() == await at_server.read() == b""
        while link.connections:
            await asyncio.sleep(0)


async def test_what_is_stalled_comes_whole_once_the_link_is_restored() -> None:
    async with linked() as (link, (_, to_server), (at_server, _)):
        link.stall()
        to_server.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(at_server.read(1), 0.05)
        link.restore()
        assert await at_server.readexactly(4) == b"late"
        assert link.connections == 1


async def test_a_black_hole_loses_everything_and_its_connections_are_of_no_use_afterwards() -> None:
    async with linked() as (link, (at_client, to_server), (at_server, _)):
        link.black_hole()
        to_server.write(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(at_server.read(1), 0.05)
        link.restore()
        for reader in (at_client, at_server):
            with pytest.raises(ConnectionResetError):
                await reader.read()


async def test_corruption_changes_what_comes_but_not_its_length() -> None:
    async with linked() as (link, (_, to_server), (at_server, _)):
        link.corrupt()
        to_server.write(bytes(100))
        assert await at_server.readexactly(100) == bytes(0xFF if at in (0, 64) else 0 for at in range(100))


async def test_a_delayed_byte_comes_later() -> None:
    async with linked() as (link, (_, to_server), (at_server, _)):
        link.delay(0.05)
        clock = asyncio.get_running_loop().time
        begun = clock()
        to_server.write(b"x")
        await at_server.readexactly(1)
        assert clock() - begun >= 0.05


async def test_where_nothing_listens_behind_the_link_connections_are_reset() -> None:
    async with linked() as (link, _, _):
        link.target = "127.0.0.1:1"
        host, _, port = link.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
