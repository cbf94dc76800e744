"""A channel whose calls are counted and traced, by method and status, when they end."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from services.common import tracing
from services.common.channel_wrapper import ChannelWrapper
from services.common.metrics import ClientMetrics
from services.common.sent_status import at_once


class MeteredChannel(ChannelWrapper):
    """Makes calls on another channel."""

    def __init__(self, channel: grpc.aio.Channel, metrics: ClientMetrics) -> None:
        self._channel = channel
        self._metrics = metrics

    @property
    def channel(self) -> grpc.aio.Channel:
        """The one given."""
        return self._channel

    def _wrapped(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        make_call = make(self._channel)

        def call(*args: Any, **options: Any) -> Any:
            begun = time.monotonic()
            span = tracing.begin_call(method, tracing.Kind.CLIENT)
            if span.context is not None:
                options["metadata"] = (*(options.get("metadata") or ()), (tracing.HEADER, span.context.header))
            made = make_call(*args, **options)

            def ended(done: Any) -> None:
                code = at_once(done.code()).name
                self._metrics.call_ended(method, code, time.monotonic() - begun)
                tracing.end_call(span, code)

            made.add_done_callback(ended)
            return made

        return call
