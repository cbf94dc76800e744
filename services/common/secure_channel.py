"""A channel that shows the token, and uses the certificates, that are in the files at each call."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

from services.common.channel_wrapper import ChannelWrapper
from services.common.client_security import AUTHORIZATION, ClientSecurity

_Options = list[tuple[str, Any]]


class SecureChannel(ChannelWrapper):
    """Makes calls on a channel with credentials. gRPC's own are fixed, so where files change there is another channel;
    the former one is closed when its calls have ended.

    Raises:
        OSError, ValueError: a file is missing, or is not what it should be.
    """

    def __init__(self, target: str, security: ClientSecurity, options: _Options) -> None:
        self._target, self._options = target, [*options, *security.options]
        self._credentials = security.credentials() if security.tls else None
        self._authorization = security.authorization()
        self._used: grpc.ChannelCredentials | None = None
        self._calls: Counter[grpc.aio.Channel] = Counter()
        """That run on each channel which is open."""
        self._closing: set[asyncio.Task[None]] = set()
        self._channel = self._open()

    @property
    def channel(self) -> grpc.aio.Channel:
        """One with the certificates that are in the files now."""
        if self._credentials is not None and self._credentials() is not self._used:
            former, self._channel = self._channel, self._open()
            self._close_idle(former)
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Close all that is open."""
        channels = tuple(self._calls)
        self._calls.clear()
        for channel in channels:
            await channel.close(grace)
        await asyncio.gather(*self._closing)

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._target, options=self._options)
        else:
            self._used = self._credentials()
            channel = grpc.aio.secure_channel(self._target, self._used, options=self._options)
        self._calls[channel] = 0
        return channel

    def _close_idle(self, channel: grpc.aio.Channel) -> None:
        """Close a former channel, once nothing runs on it; its own wait for that could not be cut short."""
        if channel is not self._channel and not self._calls[channel]:
            del self._calls[channel]
            self._closing.add(closing := asyncio.create_task(channel.close()))
            closing.add_done_callback(self._closing.discard)

    def _wrapped(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        made_on, make_call = self._channel, make(self._channel)

        def call(*args: Any, **options: Any) -> Any:
            nonlocal made_on, make_call
            if (channel := self.channel) is not made_on:
                made_on, make_call = channel, make(channel)
            if authorization := self._authorization():
                options["metadata"] = (*(options.get("metadata") or ()), (AUTHORIZATION, authorization))
            made = make_call(*args, **options)
            self._calls[channel] += 1
            made.add_done_callback(lambda _: self._ended(channel))
            return made

        return call

    def _ended(self, channel: grpc.aio.Channel) -> None:
        if channel in self._calls:
            self._calls[channel] -= 1
            self._close_idle(channel)
