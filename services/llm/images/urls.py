"""Which URLs an image may be fetched from. Pure; the address behind the host is looked at where it is connected to."""

import httpx2

from services.llm.images.limits import ImageError, ImageLimits

MAX_URL_CHARS = 4096


def parse(url: str, limits: ImageLimits) -> httpx2.URL:
    """A URL from a client.

    Raises:
        ImageError: for what cannot be fetched, or must not.
    """
    if not limits.allow_urls:
        raise ImageError("this server fetches no images; send the bytes as data")
    if len(url) > MAX_URL_CHARS:
        raise ImageError(f"has more than {MAX_URL_CHARS} characters; bytes belong into data")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise ImageError("is no valid URL") from None
    return _checked(parsed, limits)


def redirect(url: httpx2.URL, location: bytes, limits: ImageLimits) -> httpx2.URL:
    """Where a redirect leads: checked as the first URL was.

    Raises:
        ImageError: for what cannot be fetched, or must not.
    """
    try:
        target = url.join(location.decode("ascii"))
    except (httpx2.InvalidURL, UnicodeDecodeError):
        raise ImageError("redirects to no valid URL") from None
    try:
        return _checked(target, limits)
    except ImageError as error:
        raise ImageError(f"redirects to a URL that {error}") from None


def _checked(url: httpx2.URL, limits: ImageLimits) -> httpx2.URL:
    schemes = ("https", "http") if limits.allow_http else ("https",)
    if url.scheme not in schemes:
        raise ImageError(f"is no {' or '.join(schemes)} URL")
    if url.userinfo:
        raise ImageError("holds a user name or password")
    if not url.host or (url.port is not None and not 0 < url.port < 65536):
        raise ImageError("names no host" if not url.host else "names no valid port")
    return url
