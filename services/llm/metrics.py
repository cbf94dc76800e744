"""What the LLM service counts, beside what every server does."""

from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry

from services.common.instruments import Counter, Gauge, Histogram
from services.common.metrics import SECONDS_BUCKETS
from services.llm.backends.base import Capabilities
from services.llm.domain import Timings, Usage

OPERATION = "chat"
"""`gen_ai.operation.name` of all that is generated here (OpenTelemetry's semantic conventions for generative AI)."""
GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_TOKEN_BUCKETS = tuple(4**power for power in range(14))
"""As those conventions have them: 1, 4, 16, … 67108864."""
_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)


class GenerationMetrics:
    """Turns of the model: how long they wait and last, and the tokens that they take.

    The model of a label is the loaded one, never what a client asked for.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def seconds(name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, text, labels, buckets=SECONDS_BUCKETS, registry=registry)

        self._duration = seconds(
            "gen_ai_server_request_duration_seconds",
            "Time from a request to its end; of one that failed, error_type is the error's reason. Cancelled ones are "
            "in parley_llm_cancelled_total alone.",
            (*GEN_AI, "error_type"),
        )
        self._first_token = seconds(
            "gen_ai_server_time_to_first_token_seconds", "Time from a request to its first token.", GEN_AI
        )
        self._per_token = seconds(
            "gen_ai_server_time_per_output_token_seconds", "Time of each token after the first, by request.", GEN_AI
        )
        self._usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request, by gen_ai_token_type: input or output.",
            (*GEN_AI, "gen_ai_token_type"),
            buckets=_TOKEN_BUCKETS,
            registry=registry,
        )
        self._first_segment = seconds(
            "parley_llm_time_to_first_segment_seconds", "Time from a request to its first speech segment."
        )
        self._queue = seconds("parley_llm_queue_seconds", "Time that a request waited for a place at the model.")
        self.inter_token = seconds(
            "parley_llm_inter_token_seconds", "Time from one piece of an answer to the next, as the backend gives them."
        )
        self._running = Gauge("parley_llm_requests_running", "Turns that the model works on.", registry=registry)
        self._waiting = Gauge("parley_llm_requests_waiting", "Turns that wait for the model.", registry=registry)
        tokens = Counter(
            "parley_llm_tokens_total",
            "Tokens of completed turns, by type: input (cached_input is a part of it), output (reasoning is a part).",
            ("type",),
            registry=registry,
        )
        # All of them are there from the beginning, as zeros: what rises from nothing has no rate.
        self._tokens = {kind: tokens.labels(kind) for kind in ("input", "output", "cached_input", "reasoning")}
        self._cancelled = Counter(
            "parley_llm_cancelled_total", "Turns that their client cancelled; no errors.", registry=registry
        )
        self._hits = Counter(
            "parley_llm_prefix_cache_hit_tokens_total",
            "Tokens of contexts that a local model had read already.",
            registry=registry,
        )
        self._cache_bytes = Gauge(
            "parley_llm_prefix_cache_bytes", "Bytes that a local model keeps of contexts read.", registry=registry
        )

    def watch_prefix_cache(self, size: Callable[[], int]) -> None:
        """Ask for the bytes kept whenever metrics are read."""
        self._cache_bytes.set_function(size)

    def waits(self, change: int) -> None:
        """So many turns more (or fewer) wait."""
        self._waiting.inc(change)

    def runs(self, change: int) -> None:
        """The model works on so many turns more (or fewer)."""
        self._running.inc(change)

    def cancelled(self) -> None:
        """A turn was cancelled by its client."""
        self._cancelled.inc()

    def failed(self, capabilities: Capabilities, reason: str, seconds: float) -> None:
        """A turn failed for this reason after so many seconds."""
        self._duration.labels(*labels_of(capabilities), reason).observe(seconds)

    def waited(self, seconds: float) -> None:
        """A turn got its place at the model after so many seconds."""
        self._queue.observe(seconds)

    def first_token(self, capabilities: Capabilities, seconds: float) -> None:
        """The first token of a turn came so many seconds after the request, whatever becomes of the turn."""
        self._first_token.labels(*labels_of(capabilities)).observe(seconds)

    def first_segment(self, seconds: float) -> None:
        """The first speech segment of a turn came so many seconds after the request."""
        self._first_segment.observe(seconds)

    def completed(self, capabilities: Capabilities, usage: Usage | None, timings: Timings) -> None:
        """A turn went well."""
        labels = labels_of(capabilities)
        self._duration.labels(*labels, "").observe(timings.total_s)
        if timings.first_token_s is not None and usage is not None and usage.output_tokens > 1:
            writing_s = timings.total_s - timings.first_token_s
            self._per_token.labels(*labels).observe(writing_s / (usage.output_tokens - 1))
        if usage is not None:
            self._spent(labels, usage, local=capabilities.in_process)

    def _spent(self, labels: tuple[str, str, str], usage: Usage, *, local: bool) -> None:
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self._usage.labels(*labels, kind).observe(tokens)
            self._tokens[kind].inc(tokens)
        if usage.reasoning_output_tokens:
            self._tokens["reasoning"].inc(usage.reasoning_output_tokens)
        if usage.cached_input_tokens:
            self._tokens["cached_input"].inc(usage.cached_input_tokens)
            if local:
                self._hits.inc(usage.cached_input_tokens)


def labels_of(capabilities: Capabilities) -> tuple[str, str, str]:
    """Of all that begins with `gen_ai`: the operation, the provider and the loaded model."""
    return OPERATION, capabilities.provider or capabilities.backend, capabilities.model


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
