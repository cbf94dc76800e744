"""The images of messages: loaded once for a message, then there for each later turn of its conversation."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from services.common.admission import AdmissionQueue
from services.common.errors import InvalidArgumentError, OverloadedError
from services.llm.domain import ContentPart, ImagePart, Message, TextPart
from services.llm.images.cache import ImageCache
from services.llm.images.limits import ImageError, ImageLimits
from services.llm.images.metrics import ImageMetrics

if TYPE_CHECKING:
    from services.llm.images.fetch import Fetcher

log = logging.getLogger(__name__)

EARLIER = TextPart("[an earlier image]")
"""Stands for an image of the history that is one too many for the model."""
LOST = TextPart("[an image that is no longer there]")
"""Stands for an image of the history whose URL does not lead to it any more."""
_LOADING = 16
_WAITING = 64
_DECODING = 2

Place = tuple[int, int]
"""Where an image is: the index of its message, and of the part in its content."""


class Images:
    """Turns the images of a context into bytes that were looked into, before the request waits for the model.

    New images are loaded side by side, and one that cannot be loaded fails the request. Images of the history were good
    once: those that have left the cache since and cannot be loaded again are replaced by a note.

    Args:
        limits: what images may be.
        fetcher: fetches URLs; one for the limits by default, made when the first URL comes.
        metrics: counts what became of images.
    """

    def __init__(
        self, limits: ImageLimits, fetcher: "Fetcher | None" = None, metrics: ImageMetrics | None = None
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._fetcher = fetcher
        self._cache = ImageCache(limits.cache_bytes)
        self._loads = AdmissionQueue("images", running=_LOADING, waiting=_WAITING)
        self._decoders = asyncio.Semaphore(_DECODING)
        self._making = asyncio.Lock()

    async def load(
        self, messages: tuple[Message, ...], new: int | None = None, sent: int | None = None
    ) -> tuple[Message, ...]:
        """The messages with every image as bytes and a media type.

        Args:
            messages: a whole context, oldest first. Images of messages that have an id are kept for the next call.
            new: how many messages at the end are asked about; those before are history. None: all.
            sent: how many messages at the end the request brought, for the names of its fields. None: as many.

        Raises:
            InvalidArgumentError: naming the field of the request's image that cannot be used.
            OverloadedError: too many images are being loaded.
        """
        places = _places(messages)
        if not places:
            return messages
        first_new = len(messages) - (len(messages) if new is None else new)
        first_sent = first_new if sent is None else len(messages) - sent
        asked = [place for place in places if place[0] >= first_new]
        most = self._limits.max_per_request
        if len(asked) > most:
            problem = f"is one too many: a request may bring {most} images"
            raise InvalidArgumentError(problem, field=_field(asked[most], first_sent))
        shown = places[-most:]
        parts: dict[Place, ContentPart] = dict.fromkeys(places[:-most], EARLIER)
        loads = [asyncio.create_task(self._part(messages, place, first_new, first_sent)) for place in shown]
        try:
            parts.update(zip(shown, await asyncio.gather(*loads), strict=True))
        finally:
            for load in loads:
                load.cancel()
            await asyncio.gather(*loads, return_exceptions=True)
        return _replaced(messages, parts)

    async def aclose(self) -> None:
        """Close connections."""
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def _part(self, messages: tuple[Message, ...], place: Place, first_new: int, first_sent: int) -> ContentPart:
        """What stands in an image's place from now on."""
        index, number = place
        message = messages[index]
        image = message.content[number]
        assert isinstance(image, ImagePart)
        key = (message.id, number)
        known = self._cache.get(key) if message.id else None
        if known is not None:
            return known
        try:
            loaded = await self._load(image)
        except (ImageError, OverloadedError) as error:
            if index < first_new:
                log.info("an image of the history is gone", extra={"problem": str(error)})
                return LOST
            if isinstance(error, OverloadedError):
                raise
            field = f"{_field(place, first_sent)}.{'url' if image.url else 'data'}"
            raise InvalidArgumentError(str(error), field=field) from None
        if message.id:
            self._cache.put(key, loaded)
        return loaded

    async def _load(self, image: ImagePart) -> ImagePart:
        begun, outcome = time.monotonic(), "stopped"
        try:
            async with self._loads.admit():
                data = await self._fetch(image.url) if image.url else image.data
                async with self._decoders:
                    loaded = await asyncio.to_thread(_inspect, data, self._limits)
            outcome = "loaded"
            return loaded
        except ImageError:
            outcome = "refused"
            raise
        except ModuleNotFoundError as error:
            log.error("images need more packages: pip install 'parley-voice[images]'", extra={"missing": error.name})
            raise ImageError("cannot be used: this server is installed without what images need") from None
        finally:
            if self._metrics is not None:
                self._metrics.ended("url" if image.url else "data", outcome, time.monotonic() - begun)

    async def _fetch(self, url: str) -> bytes:
        async with self._making:
            if self._fetcher is None:
                self._fetcher = await asyncio.to_thread(_make_fetcher, self._limits)
        return await self._fetcher.fetch(url)


# Imported when the first image comes, on a thread: a service that sees none is spared the libraries.


def _inspect(data: bytes, limits: ImageLimits) -> ImagePart:
    from services.llm.images.content import inspect

    return inspect(data, limits)


def _make_fetcher(limits: ImageLimits) -> "Fetcher":
    from services.llm.images.fetch import Fetcher

    return Fetcher(limits)


def has_images(messages: Sequence[Message]) -> bool:
    """Whether any message has one."""
    return any(isinstance(part, ImagePart) for message in messages for part in message.content)


def _field(place: Place, first_sent: int) -> str:
    index, number = place
    return f"messages[{index - first_sent}].content[{number}].image"


def _places(messages: Sequence[Message]) -> list[Place]:
    return [
        (index, number)
        for index, message in enumerate(messages)
        for number, part in enumerate(message.content)
        if isinstance(part, ImagePart)
    ]


def _replaced(messages: tuple[Message, ...], parts: dict[Place, ContentPart]) -> tuple[Message, ...]:
    def content(index: int, message: Message) -> tuple[ContentPart, ...]:
        return tuple(parts.get((index, number), part) for number, part in enumerate(message.content))

    changed = {index for index, _ in parts}
    return tuple(
        replace(message, content=content(index, message)) if index in changed else message
        for index, message in enumerate(messages)
    )
