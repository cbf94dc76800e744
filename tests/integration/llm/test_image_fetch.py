"""The fetch guard against real servers on loopback, over http and over https with an authority made here."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest
from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkStream

from services.llm.images.fetch import MAX_REDIRECTS, Fetcher
from services.llm.images.limits import ImageError, ImageLimits
from services.llm.images.network import Resolve
from tests.support.image_server import HAS_OPENSSL, ImageServer, certificates, image_server, ok, to
from tests.support.pictures import picture

GUARDED = ImageLimits(100_000, 1_000_000, 0, 8, 1_000_000, 20.0)
OPEN = replace(GUARDED, allow_http=True, allow_private_hosts=True)
PUBLIC = "93.184.216.34"
PICTURE = picture()


class Names:
    """A resolver whose answers are set; the last one is repeated."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Wires(AnyIOBackend):
    """Notes the address of each connection; public ones are led to the test's own server."""

    def __init__(self) -> None:
        self.connected: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        self.connected.append(host)
        return await super().connect_tcp("127.0.0.1", port, timeout, local_address, socket_options)


@pytest.fixture
async def web() -> AsyncIterator[ImageServer]:
    async with image_server() as made:
        yield made


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    if not HAS_OPENSSL:
        pytest.skip("the openssl program, which makes the certificates, is missing")
    return certificates(tmp_path_factory.mktemp("certificates"), "images.test")


@contextlib.asynccontextmanager
async def fetching(
    limits: ImageLimits = OPEN,
    names: Resolve | None = None,
    trusted: ssl.SSLContext | None = None,
    wires: Wires | None = None,
) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(limits, names, trusted, wires)
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def problem(url: str, limits: ImageLimits = OPEN, names: Resolve | None = None) -> str:
    async with fetching(limits, names) as fetcher:
        with pytest.raises(ImageError) as caught:
            await fetcher.fetch(url)
    message = str(caught.value)
    assert "127.0.0.1" not in message
    return message


async def test_an_image_is_fetched_and_the_request_says_no_more_than_it_must(
    web: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    web.answers["/a.png?size=2"] = ok(PICTURE, "Set-Cookie: session=1; Path=/")
    async with fetching() as fetcher:
        for _ in range(2):
            assert await fetcher.fetch(f"http://localhost:{web.port}/a.png?size=2#part") == PICTURE
    for _, headers in web.requests:
        assert set(headers) == {"host", "accept", "accept-encoding", "user-agent"}
        assert headers["host"] == f"localhost:{web.port}"
        assert headers["accept-encoding"] == "identity"
    assert web.connections == 1


async def test_https_speaks_to_the_host_by_its_name_and_connects_to_the_address_that_was_checked(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    offered: list[str | None] = []
    tls[0].sni_callback = lambda _, name, __: offered.append(name)
    wires, names = Wires(), Names([PUBLIC])
    async with image_server(tls[0]) as web, fetching(GUARDED, names, tls[1], wires) as fetcher:
        web.answers["/a.png"] = ok(PICTURE)
        assert await fetcher.fetch(f"https://images.test:{web.port}/a.png") == PICTURE
        assert web.requests[0][1]["host"] == f"images.test:{web.port}"
    assert names.asked == [("images.test", web.port)]
    assert (wires.connected, offered) == ([PUBLIC], ["images.test"])


async def test_a_certificate_for_another_host_or_from_nobody_known_is_refused(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async with image_server(tls[0]) as web:
        for host, trusted in (("other.test", tls[1]), ("images.test", None)):
            async with fetching(OPEN, Names(["127.0.0.1"]), trusted) as fetcher:
                with pytest.raises(ImageError, match="no connection"):
                    await fetcher.fetch(f"https://{host}:{web.port}/a.png")
        assert web.requests == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "127.1", "2130706433", "0x7f000001", "0", "[::1]", "[::ffff:127.0.0.1]"],
)
async def test_edge_a_private_host_is_refused_before_anything_is_connected_however_it_is_spelled(
    web: ImageServer, host: str
) -> None:
    web.answers["/"] = ok(PICTURE)
    guarded = replace(GUARDED, allow_http=True)
    said = await problem(f"http://{host}:{web.port}/", guarded)
    assert said == "leads to a host that is unknown or not public"
    assert web.connections == 0


@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], [PUBLIC, "10.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%2"], []]
)
async def test_edge_a_name_with_any_address_that_is_not_public_is_refused(addresses: list[str]) -> None:
    said = await problem("https://metadata.test/", GUARDED, Names(addresses))
    assert said == "leads to a host that is unknown or not public"


async def test_edge_an_unknown_name_and_a_private_one_are_told_apart_by_nobody() -> None:
    async def fails(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    unknown = await problem("https://nobody.test/", GUARDED, fails)
    assert unknown == await problem("https://private.test/", GUARDED, Names(["10.0.0.1"]))
    assert unknown == await problem(f"https://{'x' * 64}.test/", GUARDED)


async def test_edge_dns_rebinding_a_name_that_changes_its_answer_is_asked_once_for_a_connection(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    wires, names = Wires(), Names([PUBLIC], ["127.0.0.1"])
    async with image_server(tls[0]) as web, fetching(GUARDED, names, tls[1], wires) as fetcher:
        web.answers["/a.png"] = ok(PICTURE, "Connection: close")
        url = f"https://images.test:{web.port}/a.png"
        assert await fetcher.fetch(url) == PICTURE
        assert (len(names.asked), wires.connected) == (1, [PUBLIC])
        with pytest.raises(ImageError, match="not public"):  # the next connection asks anew, and is looked at anew
            await fetcher.fetch(url)
    assert wires.connected == [PUBLIC]


async def test_edge_a_redirect_to_a_private_address_is_refused(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], web: ImageServer
) -> None:
    web.answers["/secret"] = ok(PICTURE)

    async def names(host: str, port: int) -> list[str]:
        return [PUBLIC] if host == "images.test" else ["127.0.0.1"]

    limits = replace(GUARDED, allow_http=True)
    async with image_server(tls[0]) as public, fetching(limits, names, tls[1], Wires()) as fetcher:
        for number, target in enumerate(("http://127.0.0.1", "http://inner.test", "http://[::1]")):
            public.answers[f"/{number}"] = to(f"{target}:{web.port}/secret")
            with pytest.raises(ImageError, match="unknown or not public"):
                await fetcher.fetch(f"https://images.test:{public.port}/{number}")
    assert web.connections == 0


async def test_an_ipv6_address_is_in_brackets_in_the_host_header() -> None:
    try:
        async with image_server(address="::1") as web, fetching() as fetcher:
            web.answers["/"] = ok(PICTURE)
            assert await fetcher.fetch(f"http://[::1]:{web.port}/") == PICTURE
            assert web.requests[0][1]["host"] == f"[::1]:{web.port}"
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(web: ImageServer, status: int) -> None:
    web.answers |= {"/a/b": to("../c?d=1", status), "/c?d=1": ok(PICTURE)}
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"http://localhost:{web.port}/a/b") == PICTURE


async def test_edge_redirects_have_an_end(web: ImageServer) -> None:
    web.answers["/"] = to("/")
    assert await problem(f"http://localhost:{web.port}/") == f"redirects more than {MAX_REDIRECTS} times"
    assert len(web.requests) == MAX_REDIRECTS + 1


async def test_edge_a_redirect_from_https_to_http_is_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with image_server(tls[0]) as web, fetching(GUARDED, Names([PUBLIC]), tls[1], Wires()) as fetcher:
        web.answers["/"] = to(f"http://images.test:{web.port}/")
        with pytest.raises(ImageError, match="redirects to a URL that is no https URL"):
            await fetcher.fetch(f"https://images.test:{web.port}/")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "its server answers 404"),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "its server answers 401"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "its server answers 204"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "its server answers 302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "no HTTP"),
    ],
)
async def test_edge_answers_that_are_no_image_are_told(web: ImageServer, answer: bytes, words: str) -> None:
    web.answers["/"] = answer
    assert words in await problem(f"http://localhost:{web.port}/")


async def test_edge_an_answer_that_breaks_off_is_no_image(web: ImageServer) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + PICTURE)
        writer.close()

    web.answers["/"] = cut
    assert "cannot be fetched" in await problem(f"http://localhost:{web.port}/")


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked", b"Connection: close"])
async def test_edge_an_endless_body_is_dropped_at_the_limit_whatever_length_was_promised(
    web: ImageServer, head: bytes
) -> None:
    chunked = b"chunked" in head
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"1000\r\n" + bytes(4096) + b"\r\n" if chunked else bytes(4096))
            sent += 4096
            await writer.drain()

    web.answers["/"] = endless
    assert f"more than {OPEN.max_bytes} bytes" in await problem(f"http://localhost:{web.port}/")
    await asyncio.wait_for(web.closed.wait(), 20)
    assert sent < 20 << 20  # the buffers of the sockets, not the gigabytes that would come


async def test_edge_a_body_that_drips_and_one_that_never_comes_end_with_the_time(web: ImageServer) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    web.answers |= {"/drip": drip, "/silent": silent}
    short = replace(OPEN, fetch_timeout_s=0.1)
    for path in ("/drip", "/silent"):
        assert await problem(f"http://localhost:{web.port}{path}", short) == "was not fetched within 0.1 seconds"


async def test_edge_a_name_that_is_never_resolved_ends_with_the_time() -> None:
    async def never(host: str, port: int) -> list[str]:
        return await asyncio.Event().wait() or []

    said = await problem("https://slow.test/", replace(GUARDED, fetch_timeout_s=0.05), never)
    assert said == "was not fetched within 0.05 seconds"


async def test_nobody_listening_is_told() -> None:
    async with image_server() as web:
        port = web.port
    assert "no connection" in await problem(f"http://localhost:{port}/")


async def test_the_second_address_is_tried_where_the_first_does_not_answer(web: ImageServer) -> None:
    web.answers["/"] = ok(PICTURE)
    async with fetching(OPEN, Names(["127.0.0.2", "127.0.0.1"])) as fetcher:
        assert await fetcher.fetch(f"http://twice.test:{web.port}/") == PICTURE


async def test_who_is_cancelled_closes_the_connection(web: ImageServer) -> None:
    begun = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        begun.set()

    web.answers["/"] = silent
    async with fetching() as fetcher:
        task = asyncio.create_task(fetcher.fetch(f"http://localhost:{web.port}/"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(web.closed.wait(), 20)
