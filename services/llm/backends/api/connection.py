"""Connections to a provider, on the openai SDK: its client, credentials and error classes, but the bytes as they come.

docs/decisions/009-raw-sse-over-the-sdks-connection.md says why.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2
import orjson
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, Omit

from services.llm.backends.api import failures
from services.llm.backends.api.clocks import Clocks
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.network import DirectTransport
from services.llm.backends.api.provider import Provider

_KEEP_ALIVE_S = 200.0
"""Seconds that an idle connection is kept: less than the 240 to 350 s after which routers on the way forget it. The SDK
keeps it for 5, so that a turn after a pause would pay for a new handshake."""
_DRAIN_S = 1.0
"""Seconds that a finished response gets to end, so that its connection can serve the next."""
_CORE_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)
_TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, *_CORE_ERRORS, ssl.SSLError, OSError)


@dataclass(frozen=True)
class ListedModel:
    """A model that the provider says it has; 0 tokens where it does not say how long a context may be."""

    name: str
    context_length_tokens: int = 0


class Connection:
    """Sends requests to one provider over connections that stay open. Retrying is up to the caller.

    Args:
        provider: where to, and with which key.
        connect_timeout_s: seconds to connect.
        most: connections at a time.
    """

    def __init__(self, provider: Provider, connect_timeout_s: float, most: int) -> None:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each request
        self._draining: set[asyncio.Task[None]] = set()
        # Reads and writes have no limit here: the caller's clocks are for that, which count tokens, not keep-alives.
        timeout = httpx2.Timeout(None, connect=connect_timeout_s, pool=connect_timeout_s)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=most, keepalive_expiry=_KEEP_ALIVE_S)
        # An environment's proxy is for the world outside, not for a server on this machine.
        direct = provider.is_local or not _has_proxy(provider.base_url)
        transport = DirectTransport(limits) if direct else None
        client = httpx2.AsyncClient(timeout=timeout, limits=limits, transport=transport, follow_redirects=True)
        # Identity, since a compressed event may wait in the compressor for the next one.
        self._headers: dict[str, Any] = {"Accept-Encoding": "identity"}
        if not provider.api_key:
            self._headers["Authorization"] = Omit()
        self._sdk = AsyncOpenAI(
            api_key=provider.api_key or "none",
            base_url=provider.base_url,
            http_client=client,
            timeout=timeout,
            max_retries=0,
        )

    async def post(self, path: str, body: bytes, clocks: Clocks) -> httpx2.Response:
        """Send a request; the response's body is still to be read, and `release` or `aclose` ends it.

        Raises:
            ProviderFailure: there is no response, or one with an error status.
        """
        try:
            async with asyncio.timeout_at(clocks.deadline):
                return await self._sdk.post(
                    path,
                    cast_to=httpx2.Response,
                    content=body,
                    options={"headers": {**self._headers, "Content-Type": "application/json"}},
                    stream=True,
                )
        except TimeoutError:
            raise clocks.failure() from None
        except APIStatusError as error:
            raise failures.of_status(error.status_code, error.response.headers, error.body) from None
        except APIConnectionError as error:
            raise failures.of_transport(_cause(error)) from None
        except _CORE_ERRORS as error:
            raise failures.of_transport(error) from None

    async def models(self) -> list[ListedModel]:
        """The models that the provider lists, none where it lists none; leaves a connection open.

        Raises:
            ProviderFailure: there is no response, or one with an error status.
        """
        try:
            response = await self._sdk.get("/models", cast_to=httpx2.Response, options={"headers": self._headers})
        except APIStatusError as error:
            raise failures.of_status(error.status_code, error.response.headers, error.body) from None
        except APIConnectionError as error:
            raise failures.of_transport(_cause(error)) from _cause(error)
        except _CORE_ERRORS as error:
            raise failures.of_transport(error) from error
        return _listed(response.content)

    async def has_model(self, name: str) -> bool:
        """Whether the provider knows a model that it does not list, as it does an alias."""
        return await self.answers(f"/models/{quote(name, safe='/:@')}")

    async def answers(self, path: str) -> bool:
        """Whether there is anything under a path."""
        try:
            await self._sdk.get(path, cast_to=httpx2.Response, options={"headers": self._headers})
        except (APIStatusError, APIConnectionError, *_CORE_ERRORS):
            return False
        return True

    def release(self, response: httpx2.Response, chunks: AsyncIterator[bytes]) -> None:
        """Read a response to its end, in the background: nothing of interest follows."""
        if response.is_closed:
            return
        task = asyncio.create_task(_drain(response, chunks))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def aclose(self) -> None:
        """Close all connections. Twice is as once."""
        await asyncio.gather(*self._draining)
        await self._sdk.close()


async def read_chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ProviderFailure: the connection was lost.
    """
    chunks: Any = response.aiter_bytes() if "content-encoding" in response.headers else response.stream
    try:
        async for chunk in chunks:
            yield chunk
    except _TRANSPORT_ERRORS as error:
        raise failures.of_transport(error) from None


async def _drain(response: httpx2.Response, chunks: AsyncIterator[bytes]) -> None:
    try:
        with contextlib.suppress(ProviderFailure, TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                async for _ in chunks:
                    continue
    finally:
        await response.aclose()


def _has_proxy(url: str) -> bool:
    """Whether the environment sends requests to this address through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


def _cause(error: APIConnectionError) -> Exception:
    return error.__cause__ if isinstance(error.__cause__, Exception) else error


def _listed(body: bytes) -> list[ListedModel]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    entries = answer.get("data") if isinstance(answer, dict) else None
    return [
        ListedModel(entry["id"], _context_length(entry))
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    ]


def _context_length(entry: dict[str, Any]) -> int:
    """Where vLLM, OpenRouter and llama.cpp say it."""
    meta = entry.get("meta")
    found = entry.get("max_model_len") or entry.get("context_length") or (meta or {}).get("n_ctx")
    return found if isinstance(found, int) and found > 0 else 0
