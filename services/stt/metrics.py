"""What the STT service counts, beside what every server does."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from services.common.metrics import SECONDS_BUCKETS


class SttMetrics:
    """Time spent in the model, and how often a transcript computed ahead of the endpoint was of use."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._recognitions = Histogram(
            "parley_stt_recognition_duration_seconds",
            "Time in the model for one stretch of audio.",
            ("kind",),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._ahead = Counter(
            "parley_stt_recognitions_ahead_total",
            "Recognitions begun at a soft silence, by what became of them.",
            ("outcome",),
            registry=registry,
        )

    def recognized(self, seconds: float, *, interim: bool) -> None:
        """A recognition took so many seconds in the model."""
        self._recognitions.labels("interim" if interim else "final").observe(seconds)

    def ahead(self, *, adopted: bool) -> None:
        """A recognition begun at a soft silence became the final one, or was dropped since the speaker went on."""
        self._ahead.labels("adopted" if adopted else "dropped").inc()
