"""Fetches an image from a URL that a client gave: limited in time, size and in where it may lead."""

import asyncio
import logging
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpcore2
import httpx2

from services.llm.images import urls
from services.llm.images.limits import ImageError, ImageLimits
from services.llm.images.network import PublicNetwork, Resolve, system_resolver

log = logging.getLogger(__name__)

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RESOLVER_THREADS = 8
_IDLE_S = 30.0
"""Seconds that a connection is kept for the next image of its host."""
# No compression: images have their own, and a body that unpacks to more than it weighs passes every limit.
_HEADERS = (
    (b"Accept", b"image/jpeg, image/png, image/webp, image/gif"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"Parley"),
)


class Fetcher:
    """Fetches over HTTP/1.1, without cookies, credentials or a proxy, whatever the environment says.

    Args:
        limits: what is allowed.
        resolve: finds a host's addresses; the system's way by default.
        ssl_context: which certificates are trusted; those that the system trusts by default.
        sockets: connects to a literal address; the system's way by default.
    """

    def __init__(
        self,
        limits: ImageLimits,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        sockets: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="llm-image-names")
        resolve = resolve or system_resolver(self._threads)
        network = PublicNetwork(resolve, allow_private=limits.allow_private_hosts, sockets=sockets)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl_context or httpcore2.default_ssl_context(),
            max_connections=None,
            max_keepalive_connections=8,
            keepalive_expiry=_IDLE_S,
            network_backend=network,
        )

    async def fetch(self, url: str) -> bytes:
        """The bytes behind a URL.

        Raises:
            ImageError: the URL leads nowhere, where it must not, to too much, or takes too long.
        """
        target = urls.parse(url, self._limits)
        timeout_s = self._limits.fetch_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(target)
        except TimeoutError:
            raise ImageError(f"was not fetched within {timeout_s:g} seconds") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, ssl.SSLError) as error:
            log.info("an image could not be fetched", extra={"host": target.host, "problem": type(error).__name__})
            raise ImageError("cannot be fetched: no connection, or an answer that is no HTTP") from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _follow(self, url: httpx2.URL) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
            # The library's own Host header lacks the brackets of a literal IPv6 address.
            async with self._pool.stream("GET", target, headers=((b"Host", url.netloc), *_HEADERS)) as response:
                if response.status == 200:
                    return await self._body(response)
                location = {name.lower(): value for name, value in response.headers}.get(b"location")
                if response.status not in _REDIRECTS or location is None:
                    raise ImageError(f"cannot be fetched: its server answers {response.status}")
                url = urls.redirect(url, location, self._limits)
        raise ImageError(f"redirects more than {MAX_REDIRECTS} times")

    async def _body(self, response: httpcore2.Response) -> bytes:
        """All of a body that keeps the limit; counted as it comes, whatever length was promised."""
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > self._limits.max_bytes:
                raise ImageError(f"leads to more than {self._limits.max_bytes} bytes")
        return bytes(body)
