"""Client channels to Parley's own services, with the options that all of them share.

A target may name several replicas (`dns:///name:port` for all its addresses, `ipv4:10.0.0.1:50051,10.0.0.2:50051`):
calls take turns over those that are connected and healthy, and a call that a replica has not begun to answer goes to
another.
"""

import json

import grpc

from services.common import logs
from services.common.interceptor import ID_METADATA_PREFIX
from services.common.metered_channel import MeteredChannel
from services.common.metrics import ClientMetrics

_REPEATABLE = (
    {"service": "parley.stt.v1.SpeechToTextService"},
    {"service": "parley.llm.v1.LanguageModelService"},
    {"service": "parley.llm.v1.ConversationService", "method": "GetConversation"},
    {"service": "parley.tts.v1.TextToSpeechService"},
)
"""Calls that may be made again elsewhere where no response has come. What changes a conversation is not among them: the
replica may have done it before it died. (A call that never left this process is always made again.)"""
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": _REPEATABLE,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
"""gRFC A6 (retries), A17 (client-side health checks)."""
_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A replica that comes back is found before a call has given up, not after the default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    # New replicas behind a name are looked for when a connection breaks; not more than once a second.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


def open_channel(target: str, metrics: ClientMetrics | None = None) -> grpc.aio.Channel:
    """A channel to `host:port`, `dns:///name:port` or any other gRPC target; it connects at the first call.

    With `metrics`, its calls are counted there.
    """
    channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
    return channel if metrics is None else MeteredChannel(channel, metrics)


def id_metadata() -> tuple[tuple[str, str], ...]:
    """The log ids in force, for the next service's logs."""
    return tuple((ID_METADATA_PREFIX + name.replace("_", "-"), value) for name, value in logs.current_ids().items())
