"""Prometheus metrics that every server has, and the endpoint that serves them."""

import asyncio
import platform
import threading
from importlib.metadata import version
from typing import Protocol
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from services.common.instruments import Counter, Gauge, Histogram

SECONDS_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 7.5, 10.0),
)
"""Upper bounds in seconds, fine where voice lives: between 50 ms and 1 s."""
FACTOR_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""Upper bounds of real-time factors (seconds of work for a second of audio); from 1 on, work does not keep up."""
_LAG_INTERVAL_S = 0.1


class MetricsServer:
    """The HTTP endpoint; `port` is -1 where there is none."""

    def __init__(self, port: int, server: WSGIServer | None = None, thread: threading.Thread | None = None) -> None:
        self.port = port
        self._server = server
        self._thread = thread

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class ServerMetrics:
    """Calls by method and status, calls running, event-loop lag, and what runs here."""

    def __init__(self, service: str, registry: CollectorRegistry = REGISTRY) -> None:
        self.service = service
        self._registry = registry
        self._calls = Histogram(
            "parley_rpc_server_duration_seconds",
            "Duration of gRPC calls.",
            ("method", "code"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._running = Gauge("parley_rpc_server_running", "gRPC calls running.", ("method",), registry=registry)
        self._lag = Histogram(
            "parley_event_loop_lag_seconds",
            "How late the event loop runs what is due, measured ten times a second.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._tasks = Gauge("parley_event_loop_tasks", "Tasks of the event loop.", registry=registry)
        self._refused = Counter(
            "parley_rpc_server_refused_total", "gRPC calls refused as overload.", ("method",), registry=registry
        )
        self._inside = Gauge(
            "parley_work_inside",
            "Sessions, streams or calls inside, where --max_load limits them.",
            registry=registry,
        )
        self._limit = Gauge(
            "parley_work_limit",
            "How many may be inside, by what they are measured to take; 0 where --max_load limits nothing.",
            registry=registry,
        )
        build = Gauge(
            "parley_build_info", "What runs here; always 1.", ("service", "version", "python"), registry=registry
        )
        build.labels(service, version("parley-voice"), platform.python_version()).set(1)

    def call_started(self, method: str) -> None:
        """A call begins."""
        self._running.labels(method).inc()

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """A call ended with a status code's name after so many seconds."""
        self._calls.labels(method, code).observe(seconds)
        if code == "RESOURCE_EXHAUSTED":
            self._refused.labels(method).inc()
        self._running.labels(method).dec()  # last: whoever reads that it runs no more finds it counted

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so many seconds late."""
        self._lag.observe(seconds)

    def watch_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count this loop's tasks whenever somebody asks."""
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def watch_room(self, room: "Room") -> None:
        """Show how much work is inside of a server that limits it by load, and how much may be."""
        self._inside.set_function(lambda: room.inside)
        self._limit.set_function(lambda: room.limit)

    def expose(self, host: str, port: int) -> MetricsServer:
        """Serve `/metrics` on a port; 0 takes a free one, -1 serves nothing."""
        if port < 0:
            return MetricsServer(-1)
        server, thread = start_http_server(port, host, registry=self._registry)
        return MetricsServer(server.server_port, server, thread)


class ClientMetrics:
    """Calls that this process makes to other services, by method and status."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._calls = Histogram(
            "parley_rpc_client_duration_seconds",
            "Duration of gRPC calls to other services; a retry is part of its call.",
            ("method", "code"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """A call ended with a status code's name after so many seconds."""
        self._calls.labels(method, code).observe(seconds)


class Room(Protocol):
    """What limits the work of a server by load."""

    inside: int

    @property
    def limit(self) -> float:
        """How much may be inside."""


class LagMeter(Protocol):
    """Whoever takes the event loop's lag."""

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so many seconds late."""


async def watch_event_loop(metrics: LagMeter) -> None:
    """Measure, ten times a second, how late the event loop runs what is due. Ends by cancellation."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_INTERVAL_S
        await asyncio.sleep(_LAG_INTERVAL_S)
        metrics.loop_lag(max(0.0, loop.time() - due))
