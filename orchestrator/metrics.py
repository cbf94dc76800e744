"""What the orchestrator counts, beside what every server does."""

from dataclasses import asdict

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from orchestrator.domain import ResponseStatus, TurnTimings
from services.common.metrics import SECONDS_BUCKETS


class TurnMetrics:
    """How responses ended, where their time went, and what speculation and false interruptions did."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._responses = Counter(
            "parley_responses_total", "Responses by how they ended.", ("status",), registry=registry
        )
        self._steps = Histogram(
            "parley_turn_duration_seconds",
            "From the end of the user's speech to each step of the response.",
            ("step",),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._speculations = Counter(
            "parley_speculations_total",
            "Responses begun at a pause, by what became of them.",
            ("outcome",),
            registry=registry,
        )
        self._lead = Counter(
            "parley_speculation_lead_seconds_total",
            "How long before their confirmation the confirmed speculations had begun.",
            registry=registry,
        )
        self._wasted_characters = Counter(
            "parley_speculation_wasted_characters_total",
            "Characters that the model wrote for speculations that were discarded.",
            registry=registry,
        )
        self._interruptions = Counter(
            "parley_interruptions_total",
            "Times that the user's voice held a response, by what it was.",
            ("outcome",),
            registry=registry,
        )

    def responded(self, status: ResponseStatus, timings: TurnTimings) -> None:
        """A response that the client knows of has ended."""
        self._responses.labels(status.value).inc()
        for step, spent in asdict(timings).items():
            if spent is not None:
                self._steps.labels(step).observe(max(0.0, spent))

    def confirmed(self, lead_s: float) -> None:
        """A speculation was right, and had begun so many seconds before that was known."""
        self._speculations.labels("confirmed").inc()
        self._lead.inc(lead_s)

    def discarded(self, text: str) -> None:
        """A speculation was wrong; so much had been written of it."""
        self._speculations.labels("discarded").inc()
        self._wasted_characters.inc(len(text))

    def interrupted(self, *, real: bool) -> None:
        """A response that was held was cancelled by the user's words, or went on."""
        self._interruptions.labels("real" if real else "false").inc()
