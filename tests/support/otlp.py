"""OTLP receivers: one within the test that shows what came, and a real one, rotel, that passes on to it."""

import asyncio
import contextlib
import importlib.util
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.redis_server import free_port

START_TIMEOUT_S = 20.0
_ROTEL = importlib.util.find_spec("rotel")
needs_rotel = pytest.mark.skipif(_ROTEL is None, reason="the package rotel is not installed")


@dataclass(frozen=True)
class SpanSeen:
    """A span as it came; ids are hexadecimal, times in seconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    events: tuple[str, ...]
    links: tuple[str, ...]
    begun_s: float
    ended_s: float
    failed: bool


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all spans that come; `endpoint` is for `--otlp_endpoint`."""

    endpoint: str = ""
    spans: list[SpanSeen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    async def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans."""
        self.raw.append(request.SerializeToString())
        for of_resource in request.resource_spans:
            service = _values(of_resource.resource.attributes)["service.name"]
            for of_scope in of_resource.scope_spans:
                self.spans += [_seen(service, span) for span in of_scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> list[SpanSeen]:
        """The spans of one trace, in the order in which they began."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.begun_s)


@contextlib.asynccontextmanager
async def otlp_receiver() -> AsyncIterator[Receiver]:
    """One that listens on a free loopback port."""
    receiver, server = Receiver(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(0)


def rotel(receiver: Receiver) -> contextlib.AbstractAsyncContextManager[str]:
    """A collector that passes all spans on to the receiver; yields its endpoint. At its end it has passed on all."""
    return _collector("--exporter=otlp", f"--otlp-exporter-endpoint={receiver.endpoint}")


def otlp_sink() -> contextlib.AbstractAsyncContextManager[str]:
    """A collector that keeps nothing; yields its endpoint."""
    return _collector("--exporter=blackhole")


@contextlib.asynccontextmanager
async def _collector(*flags: str) -> AsyncIterator[str]:
    assert _ROTEL is not None
    assert _ROTEL.origin is not None
    grpc_port, http_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(_ROTEL.origin).parent / "rotel-agent"), "start", f"--pid-file={folder}/pid"),
            *(f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}", f"--otlp-http-endpoint=127.0.0.1:{http_port}"),
            *flags,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
                await asyncio.wait_for(channel.channel_ready(), START_TIMEOUT_S)
            yield f"http://127.0.0.1:{grpc_port}"
        finally:
            process.terminate()
            await process.wait()


def _seen(service: str, span: Any) -> SpanSeen:
    return SpanSeen(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        tuple(event.name for event in span.events),
        tuple(link.trace_id.hex() for link in span.links),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
