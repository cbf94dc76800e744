"""Images of conversations that go on, kept up to a number of bytes; the one not used for longest goes first."""

from collections import OrderedDict

from services.llm.domain import ImagePart

Key = tuple[str, int]
"""The id of a message, and the place of the image in its content."""


class ImageCache:
    """A bounded mapping. Keyed by the message, not the URL: the same URL in a new message may show something new."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[Key, ImagePart] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def get(self, key: Key) -> ImagePart | None:
        """An image that is kept; counts as use."""
        image = self._images.get(key)
        if image is not None:
            self._images.move_to_end(key)
        return image

    def put(self, key: Key, image: ImagePart) -> None:
        """Keep an image."""
        known = self._images.pop(key, None)
        self._images[key] = image
        self._bytes += len(image.data) - (len(known.data) if known else 0)
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._images.popitem(last=False)[1].data)
