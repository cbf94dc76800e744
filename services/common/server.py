"""The life of every Parley server, as one sequence to read from top to bottom: see `run`."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common import event_loop, logs, secrets, tracing
from services.common.access.access import Access, open_access
from services.common.errors import ParleyError, StartupError, port_taken
from services.common.interceptor import Gate, ServerInterceptor
from services.common.load import Load
from services.common.metrics import MetricsServer, ServerMetrics, watch_event_loop
from services.common.settings import ServerSettings

log = logging.getLogger(__name__)

# Before an engine imports it: onnxruntime would make an id for this machine, keep it, and tell its maker what it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HANDSHAKE_MS = 10_000
"""Who connects and says nothing holds a socket no longer."""
_LAST_STATUS_S = 0.25
"""Seconds for the statuses of calls that have just ended to reach their clients."""
_SETTLE_S = 2.0
"""Seconds for the handlers of calls that were cut off to finish."""


class Service(ABC):
    """What a program adds to the common server: its model, its servicers, its end."""

    name: str
    """Short and lower case, as in the logs: "stt"."""
    descriptors: Sequence[ServiceDescriptor]
    """The gRPC services that it serves, for health and reflection."""
    room: Load | None = None
    """What it lets in while it has time; None where numbers alone decide."""
    starts_programs = False
    """Whether it starts programs while it serves, with asyncio."""

    @abstractmethod
    async def load(self) -> None:
        """Make ready to serve; a StartupError ends the program with its message."""

    @abstractmethod
    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicers. Called before `load`: calls that come meanwhile are refused with MODEL_LOADING."""

    async def listen(  # noqa: B027  most have nothing of the kind
        self, gate: Gate, metrics: ServerMetrics, access: Access | None
    ) -> None:
        """Serve what is not gRPC, too, under the same gate and for the same callers; called once the gRPC port is open.

        Raises:
            StartupError: where it cannot.
        """

    def drain(self) -> None:  # noqa: B027  most calls end by themselves
        """Nothing new is let in any more: end what would go on for long, at its next good moment."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything; no call is running any more."""


async def run(service: Service, settings: ServerSettings) -> None:
    """Load while NOT_SERVING, serve, and at SIGTERM or SIGINT: NOT_SERVING, wait, finish the calls, stop.

    Raises:
        StartupError: where the model does not load or the port is taken.
    """
    stopping = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopping.set)

    # 1. Listen, but say NOT_SERVING: the aio health servicer begins as SERVING.
    close_tracing = open_tracing(service.name, settings)
    metrics = ServerMetrics(service.name)
    metrics.watch_tasks(asyncio.get_running_loop())
    gate, access = Gate(), open_access(settings)
    server = grpc.aio.server(
        interceptors=(ServerInterceptor(gate, metrics, access),),
        options=(
            *settings.keepalive.of_server(),
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            # Between the two gRPC refuses by chance.
            ("grpc.max_metadata_size", settings.max_metadata_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_metadata_bytes),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.so_reuseport", 0),
            *_connection_age(settings),
        ),
    )
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = [descriptor.full_name for descriptor in service.descriptors]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    service.register(server)
    await _set_health(health_servicer, names, serving=False)
    port = _bind(server, settings)
    health_server, health_port = _health_server(health_servicer, settings)
    metrics_server = _expose(metrics, settings)
    await server.start()
    await health_server.start()
    watches = [asyncio.create_task(watch_event_loop(metrics))]
    if service.room is not None and settings.max_load:
        metrics.watch_room(service.room)
        watches.append(asyncio.create_task(service.room.watch()))
    ports = {"port": port, "metrics_port": metrics_server.port, "health_port": health_port}
    log.info("listening", extra={"address": f"{settings.host}:{port}", "tls": settings.server_tls is not None, **ports})

    try:
        await service.listen(gate, metrics, access)

        # 2. Load; a signal ends the wait.
        loading = asyncio.create_task(service.load())
        ended = asyncio.create_task(stopping.wait())
        await asyncio.wait((loading, ended), return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        else:
            loading.result()

            # 3. Serve.
            gate.open()
            await _set_health(health_servicer, names, serving=True)
            log.info("serving")
            await ended

        # 4. Drain: tell load balancers, give them time to look away, refuse what is new, finish what runs.
        log.info("draining", extra={"grace_s": settings.drain_grace_s})
        await health_servicer.enter_graceful_shutdown()
        await asyncio.sleep(settings.drain_wait_s)
        gate.drain()
        service.drain()
        await _finish_calls(server, gate, settings.drain_grace_s)
    finally:
        # 5. Stop.
        await server.stop(0)
        await health_server.stop(0)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await service.aclose()
        if access is not None:
            await access.aclose()
        metrics_server.close()
        await asyncio.to_thread(close_tracing)  # after all that has spans
        log.info("stopped")


def main(service: Service, settings: ServerSettings) -> None:
    """`run` as a program: exit code 0 after a signal, 1 with one line where it cannot serve."""
    finish_logs = logs.setup(
        service.name,
        settings.log_level,
        settings.log_format,
        content=settings.log_content,
        secrets=secrets.of(settings),
    )
    try:
        event_loop.run(run(service, settings), starts_programs=service.starts_programs)
    except (StartupError, ParleyError) as error:
        finish_logs()  # so that the reason is the last line
        sys.stderr.write(f"parley-{service.name}: {error}\n")
        raise SystemExit(1) from None


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> int:
    tls, address = settings.server_tls, f"{settings.host}:{settings.port}"
    credentials = None if tls is None else tls.grpc_credentials()
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise port_taken("listen", settings.host, settings.port, "port") from None


def _health_server(servicer: health.aio.HealthServicer, settings: ServerSettings) -> tuple[grpc.aio.Server, int]:
    """A server of health alone, for probes that know no TLS; it listens nowhere (port -1) unless asked to."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS)))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if settings.health_port < 0:
        return server, -1
    try:
        return server, server.add_insecure_port(f"{settings.host}:{settings.health_port}")
    except RuntimeError:
        raise port_taken("serve health", settings.host, settings.health_port, "health_port") from None


def _expose(metrics: ServerMetrics, settings: ServerSettings) -> MetricsServer:
    try:
        return metrics.expose(settings.host, settings.metrics_port)
    except OSError:
        raise port_taken("serve metrics", settings.host, settings.metrics_port, "metrics_port") from None


def _connection_age(settings: ServerSettings) -> tuple[tuple[str, int], ...]:
    """gRFC A9; the grace for calls that run on is left infinite, so that a live session is never cut."""
    age_ms = round(settings.max_connection_age_s * 1000)
    return (("grpc.max_connection_age_ms", age_ms),) if age_ms else ()


def open_tracing(name: str, settings: ServerSettings) -> Callable[[], None]:
    """Send traces, if that is asked for; returns what sends the last of them and ends it."""
    if not settings.otlp_endpoint:
        return lambda: None
    try:
        from services.common.otlp import OtlpSink
    except ModuleNotFoundError:
        raise StartupError("--otlp_endpoint needs more packages: pip install 'parley-voice[otlp]'") from None
    sink = OtlpSink(name, settings.otlp_endpoint)
    tracing.send_to(sink, content=settings.trace_content)
    return sink.close


async def _finish_calls(server: grpc.aio.Server, gate: Gate, grace_s: float) -> None:
    """Tell clients to go elsewhere, and wait for the calls that run; those that outlast the grace are cancelled.

    The server's own wait is too long and too short: a watcher of health never ends its call, and would use up the whole
    grace; of calls that are not gRPC it knows nothing; and a call that its client has cancelled is over for it, while
    its handler still settles what was heard.
    """
    stopping = asyncio.create_task(server.stop(grace_s))
    await _wait(gate.wait_empty(), grace_s)
    await server.stop(min(grace_s, _LAST_STATUS_S))
    await stopping
    await _wait(gate.wait_empty(), _SETTLE_S)


async def _wait(work: Coroutine[Any, Any, None], timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work, timeout_s)


async def _set_health(servicer: health.aio.HealthServicer, names: Sequence[str], *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", *names):
        await servicer.set(name, status)
