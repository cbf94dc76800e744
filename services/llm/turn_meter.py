"""One turn of the model as it is measured: its metrics and its span."""

import asyncio
import time

from services.common import tracing
from services.common.errors import ParleyError
from services.llm.backends.base import Capabilities
from services.llm.domain import Timings, Usage
from services.llm.metrics import GenerationMetrics, labels_of


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
    operation, provider, model = labels_of(capabilities)
    attributes = tracing.of_model(operation, provider, model) | {"gen_ai.request.stream": True}
    kind = tracing.Kind.INTERNAL if capabilities.in_process else tracing.Kind.CLIENT
    return tracing.begin(f"{operation} {model}", attributes, kind=kind)
