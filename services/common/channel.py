"""Client channels to Parley's own services, with the options that all of them share.

A target may name several replicas (`dns:///name:port` for all its addresses, `ipv4:10.0.0.1:50051,10.0.0.2:50051`):
calls take turns over those that are connected and healthy, and a call that a replica has not begun to answer goes to
another. With `affinity` the calls of a conversation go to one replica, as long as it is connected and healthy.
"""

import json
import os
from typing import Any

import grpc

from services.common import logs
from services.common.client_security import PLAIN, ClientSecurity
from services.common.interceptor import ID_METADATA_PREFIX
from services.common.keepalive import Keepalive
from services.common.metered_channel import MeteredChannel
from services.common.metrics import ClientMetrics
from services.common.secure_channel import SecureChannel

_REPEATABLE = (
    {"service": "parley.stt.v1.SpeechToTextService"},
    {"service": "parley.llm.v1.LanguageModelService"},
    {"service": "parley.llm.v1.ConversationService", "method": "GetConversation"},
    {"service": "parley.tts.v1.TextToSpeechService"},
)
"""Calls that may be made again elsewhere where no response has come. What changes a conversation is not among them: the
replica may have done it before it died. (A call that never left this process is always made again.)"""
AFFINITY_HEADER = ID_METADATA_PREFIX + "conversation-id"
_ROUND_ROBIN: dict[str, Any] = {"round_robin": {}}
_BY_CONVERSATION: dict[str, Any] = {
    "ring_hash_experimental": {"requestHashHeader": AFFINITY_HEADER, "minRingSize": 1024}
}
"""Each replica has its places on a ring, a call goes to the next place after the hash of its header; where that replica
is gone, to the next one after it. A call without the header goes anywhere. gRFC A42 (the ring), A76 (the header)."""
_SERVICE_CONFIG = {
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
_KEEPALIVE = Keepalive()
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    # A replica that comes back is found before a call has given up, not after the default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 250),
    # How long an address may leave a connection unanswered (gRPC's name for it; 20 s by default): calls of its
    # conversations wait for it.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    # New replicas behind a name are looked for when a connection breaks; not more than once a second.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


# gRPC reads `requestHashHeader` only where this says so; it looks when it reads the first service config.
os.environ.setdefault("GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY", "true")


def open_channel(
    target: str,
    metrics: ClientMetrics | None = None,
    *,
    affinity: bool = False,
    own_connection: bool = False,
    keepalive: Keepalive = _KEEPALIVE,
    security: ClientSecurity = PLAIN,
) -> grpc.aio.Channel:
    """A channel to `host:port`, `dns:///name:port` or any other gRPC target; it connects at the first call.

    With `metrics`, its calls are counted there. With `affinity`, the calls of a conversation go to the same replica.
    With `own_connection`, it shares no connection with another channel to the same target.

    Raises:
        OSError, ValueError: a file of `security` is missing, or is not what it should be.
    """
    config = {**_SERVICE_CONFIG, "loadBalancingConfig": [_BY_CONVERSATION if affinity else _ROUND_ROBIN]}
    options = [*_OPTIONS, *keepalive.of_client(), ("grpc.service_config", json.dumps(config))]
    if own_connection:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if security == PLAIN:
        channel = grpc.aio.insecure_channel(target, options=options)
    else:
        channel = SecureChannel(target, security, options)
    return channel if metrics is None else MeteredChannel(channel, metrics)


def id_metadata() -> tuple[tuple[str, str], ...]:
    """The log ids in force, for the next service's logs."""
    return tuple((ID_METADATA_PREFIX + name.replace("_", "-"), value) for name, value in logs.current_ids().items())
