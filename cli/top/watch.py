"""Reads the services' metrics again and again, and keeps what was read a while ago to compare with."""

import asyncio
import http.client
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from cli.top.samples import Page

TIMEOUT_S = 2.0
_LARGEST_BYTES = 8 << 20
_STRANGER = "what answers there is no program of Parley"


@dataclass(frozen=True)
class Endpoint:
    """What is known of one program.

    Attributes:
        address: `host:port` of its metrics.
        service: its name; "" where it has never been seen.
        now: its page; None where it is down, and `error` says why.
        before: a page read earlier, to compare with; None until there are two.
    """

    address: str
    service: str = ""
    now: Page | None = None
    before: Page | None = None
    error: str = ""


class Watch:
    """Reads the pages of some addresses.

    Args:
        services: names by address, as far as they are known beforehand.
        window_s: pages are compared with the oldest that is no older than this.
    """

    def __init__(self, addresses: Sequence[str], services: dict[str, str], window_s: float) -> None:
        self._pages: dict[str, deque[Page]] = {address: deque() for address in addresses}
        self._services = dict(services)
        self._window_s = window_s

    async def read(self) -> list[Endpoint]:
        """Read all of them at once."""
        return list(await asyncio.gather(*map(self._read, self._pages)))

    async def _read(self, address: str) -> Endpoint:
        pages = self._pages[address]
        try:
            page = Page(await asyncio.to_thread(_get, address), time.monotonic())
        except (OSError, ValueError, http.client.HTTPException) as error:
            pages.clear()
            return Endpoint(address, self._services.get(address, ""), error=_why(error))
        if not (build := page.label_sets("parley_build_info")):
            return Endpoint(address, error=_STRANGER)
        self._services[address] = service = build[0]["service"]
        while pages and page.at_s - pages[0].at_s > self._window_s:
            pages.popleft()
        pages.append(page)
        return Endpoint(address, service, page, pages[0] if len(pages) > 1 else None)


def _get(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=TIMEOUT_S) as response:
        return str(response.read(_LARGEST_BYTES).decode())


def _why(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, urllib.error.HTTPError) or not (words := getattr(cause, "strerror", None)):
        return _STRANGER
    return str(words).lower()
