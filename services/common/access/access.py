"""Admits calls: who calls is told from a token, and what they use is counted.

A caller is known to all that serves its call: see `owner`.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.access.limits import Limits, Usage
from services.common.access.token_file import Tokens
from services.common.client_security import BEARER
from services.common.errors import StartupError, UnauthenticatedError, first_line
from services.common.security_settings import SecuritySettings
from services.common.watched_files import WatchedFiles

if TYPE_CHECKING:
    from services.common.access.signed_tokens import SignedTokens

_MANY = 10_000
"""Callers whose use is remembered before those are forgotten who use nothing."""


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        subject: the same for all tokens of one caller.
    """

    subject: str
    usage: Usage

    @property
    def owner(self) -> str:
        """Begins the names of what belongs to this caller: nobody else's begin so, and it says nothing about them."""
        return hashlib.sha256(self.subject.encode()).hexdigest()[:32] + ":"


_caller: ContextVar[Caller | None] = ContextVar("parley_caller", default=None)


def owner() -> str:
    """To whom belongs what the call makes that is being served; empty where anybody may call."""
    found = _caller.get()
    return "" if found is None else found.owner


def count_request() -> None:
    """Count a request within a session. Raises QuotaExceededError where it is one too many."""
    if (found := _caller.get()) is not None:
        found.usage.request(time.monotonic())


def count_audio(seconds: float) -> None:
    """Count audio that the caller has sent. Raises QuotaExceededError where it is too much."""
    if (found := _caller.get()) is not None:
        found.usage.audio(seconds, time.monotonic())


class Access:
    """Knows the tokens, and what their callers use.

    Args:
        tokens: those of the file; None has none.
        signed: checks those that somebody else signs; None takes none.
        defaults: limits of callers for whom nothing else is set.
    """

    def __init__(self, tokens: WatchedFiles[Tokens] | None, signed: "SignedTokens | None", defaults: Limits) -> None:
        self._tokens, self._signed, self._defaults = tokens, signed, defaults
        self._usages: dict[str, Usage] = {}

    async def admit(self, authorization: str) -> contextlib.AbstractContextManager[None]:
        """Let a call in, which holds its place inside the returned context.

        Args:
            authorization: the value of the header of that name.

        Raises:
            UnauthenticatedError: no token, or none that is good.
            QuotaExceededError: the caller has used what it may.
        """
        found = await self._identify(authorization)
        found.usage.request(time.monotonic())
        return _inside(found)

    async def aclose(self) -> None:
        """Let go of everything."""
        if self._signed is not None:
            await self._signed.aclose()

    async def _identify(self, authorization: str) -> Caller:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != BEARER.strip().lower() or not token:
            raise UnauthenticatedError("a token is needed, as `authorization: Bearer …`")
        holder = self._tokens.get().holder(token) if self._tokens is not None else None
        if holder is not None:
            return self._caller(f"token:{holder.name}", holder.limits)
        if self._signed is not None and token.count(".") == 2:
            return self._caller(f"jwt:{await self._signed.subject(token)}", Limits())
        raise UnauthenticatedError("the token is not good here")

    def _caller(self, subject: str, limits: Limits) -> Caller:
        usage = self._usages.get(subject)
        if usage is None:
            if len(self._usages) >= _MANY:
                now = time.monotonic()
                self._usages = {name: kept for name, kept in self._usages.items() if not kept.is_idle(now)}
            usage = self._usages[subject] = Usage()
        usage.limits = limits.over(self._defaults)
        return Caller(subject, usage)


def open_access(settings: SecuritySettings) -> Access | None:
    """As the flags say; None where anybody may call.

    Raises:
        StartupError: a file is missing, or is not what it should be.
    """
    if settings.auth_token_file is None and not settings.auth_jwks:
        return None
    try:
        tokens = None if settings.auth_token_file is None else WatchedFiles([settings.auth_token_file], Tokens)
        signed = _signed_tokens(settings) if settings.auth_jwks else None
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot read who may call: {first_line(error)}") from None
    limits = (settings.token_max_sessions, settings.token_requests_per_minute, settings.token_audio_seconds_per_day)
    return Access(tokens, signed, Limits(*limits))


def _signed_tokens(settings: SecuritySettings) -> "SignedTokens":
    try:
        from services.common.access.signed_tokens import SignedTokens
    except ModuleNotFoundError:
        raise StartupError("--auth_jwks needs more packages: pip install 'parley-voice[auth]'") from None
    return SignedTokens(settings.auth_jwks, settings.auth_issuer, settings.auth_audience)


@contextlib.contextmanager
def _inside(found: Caller) -> Iterator[None]:
    found.usage.enter()
    _caller.set(found)
    try:
        yield
    finally:
        found.usage.leave()
