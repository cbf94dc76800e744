"""A channel whose calls are counted and traced, by method and status, when they end."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from services.common import tracing
from services.common.metrics import ClientMetrics
from services.common.sent_status import at_once


class MeteredChannel(grpc.aio.Channel):
    """Makes calls on another channel. gRPC's interceptors would do, but wrap each call and each message of it."""

    def __init__(self, channel: grpc.aio.Channel, metrics: ClientMetrics) -> None:
        self._channel = channel
        self._metrics = metrics

    async def __aenter__(self) -> "MeteredChannel":
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        await self._channel.__aexit__(exc_type, exc_val, exc_tb)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._metered(method, self._channel.unary_unary(method, *args, **options))

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self._metered(method, self._channel.unary_stream(method, *args, **options))

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._metered(method, self._channel.stream_unary(method, *args, **options))

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self._metered(method, self._channel.stream_stream(method, *args, **options))

    def _metered(self, method: str, make_call: Callable[..., Any]) -> Callable[..., Any]:
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
