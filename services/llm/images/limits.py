"""What images may be, and what is wrong with one. Plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """What the flags say about images.

    Attributes:
        max_bytes: encoded bytes of one image.
        max_pixels: width times height of one image.
        max_side: pixels of the longer side to which larger images are made smaller; 0 leaves them as they are.
        max_per_request: images that one request may bring, and that the model sees at a time.
        cache_bytes: bytes of images kept for later turns of their conversations.
        fetch_timeout_s: seconds for a URL in all: names, connections, redirects, bytes.
        allow_urls: whether images may be given as URLs at all.
        allow_http: whether http URLs are taken beside https ones.
        allow_private_hosts: whether URLs may lead to addresses that are not public.
    """

    max_bytes: int
    max_pixels: int
    max_side: int
    max_per_request: int
    cache_bytes: int
    fetch_timeout_s: float
    allow_urls: bool = True
    allow_http: bool = False
    allow_private_hosts: bool = False


class ImageError(Exception):
    """An image cannot be had or used; the message is for the client and tells nothing of our network."""
