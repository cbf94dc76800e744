"""What the LLM service counts, beside what every server does."""

from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from services.common.metrics import SECONDS_BUCKETS

_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


class CompactionMetrics:
    """Summaries of conversations, by what became of them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._seconds = Histogram(
            "parley_llm_compaction_seconds",
            "Time from the wish for a summary to its end, waiting for the model included.",
            ("outcome",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._gave_way = Counter(
            "parley_llm_compactions_gave_way_total", "Summaries stopped for a turn, to begin anew.", registry=registry
        )

    def gave_way(self) -> None:
        """A summary was stopped for a turn."""
        self._gave_way.inc()

    def ended(self, outcome: str, seconds: float) -> None:
        """A compaction ended: done, failed, outdated (another was faster), elsewhere (another server is at it),
        needless, deleted (with its conversation) or stopped (with the server).
        """
        self._seconds.labels(outcome).observe(seconds)


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


class ProviderMetrics:
    """Requests to the provider of an API backend that failed."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._failures = Counter(
            "parley_llm_provider_failures_total",
            "Failed requests to the provider, by the error that they mean, and whether they were tried again.",
            ("reason", "retried"),
            registry=registry,
        )

    def failed(self, reason: str, *, retried: bool) -> None:
        """A request failed with this `ErrorReason`; a retry hides it from the client, if it succeeds."""
        self._failures.labels(reason, str(retried).lower()).inc()


@cache
def provider_metrics() -> ProviderMetrics:
    """Those of this process: its backends share them."""
    return ProviderMetrics()
