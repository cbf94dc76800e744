"""What the API backends count of their requests to the provider."""

import time
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry

from services.common import tracing
from services.common.instruments import Counter, Histogram
from services.common.metrics import SECONDS_BUCKETS
from services.llm.backends.base import Capabilities
from services.llm.metrics import GEN_AI, labels_of


class ProviderMetrics:
    """Requests to the provider of an API backend: how long they took, and which failed."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._failures = Counter(
            "parley_llm_provider_failures_total",
            "Failed requests to the provider, by the error that they mean, and whether they were tried again.",
            ("reason", "retried"),
            registry=registry,
        )
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time of a request to the provider, each try for itself; of one that failed, error_type is its reason.",
            (*GEN_AI, "error_type"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def failed(self, reason: str, *, retried: bool) -> None:
        """A request failed with this `ErrorReason`; a retry hides it from the client, if it succeeds."""
        self._failures.labels(reason, str(retried).lower()).inc()

    def ended(self, capabilities: Capabilities, seconds: float, error_type: str = "") -> None:
        """A request took so many seconds, and failed where there is an `ErrorReason`."""
        self._duration.labels(*labels_of(capabilities), error_type).observe(seconds)
        tracing.begin("provider request", kind=tracing.Kind.CLIENT, at=time.monotonic() - seconds).end(error_type)


@cache
def provider_metrics() -> ProviderMetrics:
    """Those of this process: its backends share them."""
    return ProviderMetrics()
