"""What the LLM service counts, beside what every server does."""

import asyncio
import time
from collections.abc import Callable
from functools import cache

from prometheus_client import REGISTRY, CollectorRegistry

from services.common import tracing
from services.common.errors import ParleyError
from services.common.instruments import Counter, Gauge, Histogram
from services.common.metrics import SECONDS_BUCKETS
from services.llm.backends.base import Capabilities
from services.llm.domain import Timings, Usage

OPERATION = "chat"
"""`gen_ai.operation.name` of all that is generated here (OpenTelemetry's semantic conventions for generative AI)."""
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
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
            (*_GEN_AI, "error_type"),
        )
        self._first_token = seconds(
            "gen_ai_server_time_to_first_token_seconds", "Time from a request to its first token.", _GEN_AI
        )
        self._per_token = seconds(
            "gen_ai_server_time_per_output_token_seconds", "Time of each token after the first, by request.", _GEN_AI
        )
        self._usage = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request, by gen_ai_token_type: input or output.",
            (*_GEN_AI, "gen_ai_token_type"),
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

    def turn(self, capabilities: Capabilities) -> "TurnMeter":
        """Follow a turn from now on."""
        return TurnMeter(self, capabilities)

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
        self._duration.labels(*_of(capabilities), reason).observe(seconds)

    def waited(self, seconds: float) -> None:
        """A turn got its place at the model after so many seconds."""
        self._queue.observe(seconds)

    def first_token(self, capabilities: Capabilities, seconds: float) -> None:
        """The first token of a turn came so many seconds after the request, whatever becomes of the turn."""
        self._first_token.labels(*_of(capabilities)).observe(seconds)

    def first_segment(self, seconds: float) -> None:
        """The first speech segment of a turn came so many seconds after the request."""
        self._first_segment.observe(seconds)

    def completed(self, capabilities: Capabilities, usage: Usage | None, timings: Timings) -> None:
        """A turn went well."""
        labels = _of(capabilities)
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


class TurnMeter:
    """One turn: waits, runs, ends, and its span. Used as `async with`, which counts what goes wrong; `completed` counts
    the rest.
    """

    def __init__(self, metrics: GenerationMetrics, capabilities: Capabilities) -> None:
        self._metrics, self._capabilities = metrics, capabilities
        self._begun = time.monotonic()
        self._running = False
        self._token_at: float | None = None
        self.span = _generation_span(capabilities)

    async def __aenter__(self) -> "TurnMeter":
        self._metrics.waits(1)
        self.span.activate()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._running:
            self._metrics.runs(-1)
        else:
            self._metrics.waits(-1)
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._metrics.cancelled()
            self.span.end()
        elif error is not None:
            reason = error.reason if isinstance(error, ParleyError) else "INTERNAL"
            self._metrics.failed(self._capabilities, reason, time.monotonic() - self._begun)
            self.span.end(reason)

    def started(self, waited_s: float) -> None:
        """The model has begun to work on it, after so many seconds of waiting for a place."""
        if not self._running:
            self._running = True
            self._metrics.waited(waited_s)
            self._metrics.waits(-1)
            self._metrics.runs(1)
            self.span.event("model began")

    def piece(self) -> None:
        """A piece of the answer has come."""
        now = time.monotonic()
        if self._token_at is not None:
            self._metrics.inter_token.observe(now - self._token_at)
        self._token_at = now

    def first_token(self, seconds: float) -> None:
        """Its first token came so many seconds after the request."""
        self._metrics.first_token(self._capabilities, seconds)
        self.span.event("first token")
        self.span.set({"gen_ai.response.time_to_first_chunk": seconds})

    def first_segment(self, seconds: float) -> None:
        """Its first speech segment came so many seconds after the request."""
        self._metrics.first_segment(seconds)
        self.span.event("first speech segment")

    def completed(self, usage: Usage | None, timings: Timings) -> None:
        """It went well."""
        self._metrics.completed(self._capabilities, usage, timings)
        if usage is not None:
            self.span.set(
                {
                    "gen_ai.usage.input_tokens": usage.input_tokens,
                    "gen_ai.usage.output_tokens": usage.output_tokens,
                    "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
                    "gen_ai.usage.reasoning.output_tokens": usage.reasoning_output_tokens,
                }
            )
        self.span.end()


def _generation_span(capabilities: Capabilities) -> tracing.Span:
    operation, provider, model = _of(capabilities)
    attributes = tracing.of_model(operation, provider, model) | {"gen_ai.request.stream": True}
    kind = tracing.Kind.INTERNAL if capabilities.in_process else tracing.Kind.CLIENT
    return tracing.begin(f"{operation} {model}", attributes, kind=kind)


def _of(capabilities: Capabilities) -> tuple[str, str, str]:
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
            (*_GEN_AI, "error_type"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def failed(self, reason: str, *, retried: bool) -> None:
        """A request failed with this `ErrorReason`; a retry hides it from the client, if it succeeds."""
        self._failures.labels(reason, str(retried).lower()).inc()

    def ended(self, capabilities: Capabilities, seconds: float, error_type: str = "") -> None:
        """A request took so many seconds, and failed where there is an `ErrorReason`."""
        self._duration.labels(*_of(capabilities), error_type).observe(seconds)
        tracing.begin("provider request", kind=tracing.Kind.CLIENT, at=time.monotonic() - seconds).end(error_type)


@cache
def provider_metrics() -> ProviderMetrics:
    """Those of this process: its backends share them."""
    return ProviderMetrics()
