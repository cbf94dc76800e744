"""A channel that makes its calls on another one, for what is to be done with every call."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import grpc


class ChannelWrapper(grpc.aio.Channel):
    """Subclasses say which channel, and what is done. gRPC's interceptors would do, but wrap each message of a call."""

    @property
    @abstractmethod
    def channel(self) -> grpc.aio.Channel:
        """The channel that makes the calls now."""

    @abstractmethod
    def _wrapped(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        """What makes calls of a method, as a stub uses it; `make` gets that from a channel."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self.channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self.channel.channel_ready()

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._wrapped(method, lambda channel: channel.unary_unary(method, *args, **options))

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self._wrapped(method, lambda channel: channel.unary_stream(method, *args, **options))

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._wrapped(method, lambda channel: channel.stream_unary(method, *args, **options))

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self._wrapped(method, lambda channel: channel.stream_stream(method, *args, **options))
