"""Where spans go: OpenTelemetry's batch processor and its OTLP exporter. Imported only where `--otlp_endpoint` is set.

The event loop only puts a span into a queue; a thread of the library's sends them. A receiver that is slow or down
costs spans (the queue holds 2,048; what is over is dropped), never a turn. The library reads the standard environment,
too: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`.
"""

import os
import socket
import threading
import time
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.common import tracing

FLUSH_S = 3.0
"""Seconds that the end of a program waits for the last spans to be taken."""
_STOP_S = 1.0
_KINDS = {
    tracing.Kind.INTERNAL: SpanKind.INTERNAL,
    tracing.Kind.SERVER: SpanKind.SERVER,
    tracing.Kind.CLIENT: SpanKind.CLIENT,
}


class OtlpSink:
    """Sends spans to an OTLP receiver over gRPC: `http://host:4317`, or `https://` for TLS."""

    def __init__(self, service: str, endpoint: str) -> None:
        self._scope = InstrumentationScope("parley", version("parley-voice"))
        self._resource = Resource.create(
            {
                "service.namespace": "parley",
                "service.name": f"parley-{service}",
                "service.version": version("parley-voice"),
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
            }
        )
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._processor = BatchSpanProcessor(self._exporter)

    def __call__(self, span: tracing.RecordedSpan) -> None:
        """Queue a span that has ended."""
        wall_ns = time.time_ns() - time.monotonic_ns()

        def at(monotonic_s: float) -> int:
            return wall_ns + round(monotonic_s * 1e9)

        attributes = span.attributes | ({"error.type": span.error_type} if span.error_type else {})
        self._processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.context),
                None if span.parent is None else _context(span.parent, remote=span.kind is tracing.Kind.SERVER),
                self._resource,
                attributes,
                [Event(name, timestamp=at(when)) for name, when in span.events],
                [Link(_context(link)) for link in span.links],
                _KINDS[span.kind],
                status=Status(StatusCode.ERROR if span.error_type else StatusCode.UNSET),
                start_time=at(span.begun_at),
                end_time=at(span.ended_at),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Send what is queued, for `FLUSH_S` at most. Blocks."""
        tracing.send_to(None)
        # The library would wait 30 s for a receiver that is down; its thread is a daemon, which no exit waits for.
        flushing = threading.Thread(target=self._processor.shutdown, daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)
        if flushing.is_alive():
            self._exporter.shutdown()
            flushing.join(_STOP_S)


def _context(context: tracing.Context, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(context.trace_id, context.span_id, remote, flags)
