"""A channel that shows the token, and uses the certificates, that are in the files at each call."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from services.common.channel_wrapper import ChannelWrapper
from services.common.client_security import AUTHORIZATION, ClientSecurity

_OLD_CALLS_S = 24 * 3600.0
"""How long calls that run when certificates change may go on, on the connection that they have."""
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
        self._closing: dict[asyncio.Task[None], grpc.aio.Channel] = {}
        self._channel = self._open()

    @property
    def channel(self) -> grpc.aio.Channel:
        """One with the certificates that are in the files now."""
        if self._credentials is not None and self._credentials() is not self._used:
            closing = asyncio.create_task(self._channel.close(_OLD_CALLS_S))
            self._closing[closing] = self._channel
            closing.add_done_callback(self._closing.pop)
            self._channel = self._open()
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Close all that is open."""
        former = dict(self._closing)
        for closing in former:
            closing.cancel()
        await asyncio.gather(*former, return_exceptions=True)
        for channel in (*former.values(), self._channel):
            await channel.close(grace)

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        self._used = self._credentials()
        return grpc.aio.secure_channel(self._target, self._used, options=self._options)

    def _wrapped(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        made_on, make_call = self._channel, make(self._channel)

        def call(*args: Any, **options: Any) -> Any:
            nonlocal made_on, make_call
            if (channel := self.channel) is not made_on:
                made_on, make_call = channel, make(channel)
            if authorization := self._authorization():
                options["metadata"] = (*(options.get("metadata") or ()), (AUTHORIZATION, authorization))
            return make_call(*args, **options)

        return call
