"""Client channels to Parley's own services, with the options that all of them share."""

import grpc

from services.common import logs
from services.common.interceptor import ID_METADATA_PREFIX

_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # A replica that comes back is found within a second, not after the default back-off of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def open_channel(target: str) -> grpc.aio.Channel:
    """A channel to `host:port`, `dns:///name:port` or any other gRPC target; it connects at the first call."""
    return grpc.aio.insecure_channel(target, options=_OPTIONS)


def id_metadata() -> tuple[tuple[str, str], ...]:
    """The log ids in force, for the next service's logs."""
    return tuple((ID_METADATA_PREFIX + name.replace("_", "-"), value) for name, value in logs.current_ids().items())
