"""What is counted of images."""

from prometheus_client import REGISTRY, CollectorRegistry

from services.common.instruments import Histogram
from services.common.metrics import SECONDS_BUCKETS


class ImageMetrics:
    """Images of messages, by where they came from and what became of them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._seconds = Histogram(
            "parley_llm_image_seconds",
            "Time to fetch an image and to look into it, waiting for a place included.",
            ("source", "outcome"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def ended(self, source: str, outcome: str, seconds: float) -> None:
        """An image (source url or data) was loaded, refused, or stopped (with its request, or for want of a place)."""
        self._seconds.labels(source, outcome).observe(seconds)
