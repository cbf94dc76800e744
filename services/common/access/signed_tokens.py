"""Tokens that somebody else signs (JWT, RFC 7519), checked with the keys that the signer publishes (JWKS, RFC 7517)."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import jwt

from services.common.errors import UnauthenticatedError, UpstreamError
from services.common.watched_files import WatchedFiles

log = logging.getLogger(__name__)

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only those whose keys may be public; never `none`, nor an HMAC with a key that everybody can read."""
_LEEWAY_S = 10.0
"""For clocks that differ."""
_FETCH_TIMEOUT_S = 5.0
_FRESH_S = 300.0
"""Keys are fetched again after so long; those that are known serve on meanwhile, and while the signer is down."""
_COOLDOWN_S = 10.0
"""Between two fetches: a token may name any key, and so make this server ask for it."""


class SignedTokens:
    """Checks signed tokens.

    Args:
        source: file of the keys, or URL.
        issuer: `iss` that a token must have.
        audience: `aud` that it must have.
        clock: seconds, monotonic.

    Raises:
        OSError, ValueError: the file is missing, or has no keys.
    """

    def __init__(self, source: str, issuer: str, audience: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys = _RemoteKeys(source, clock) if "://" in source else _KeyFile(Path(source))

    async def subject(self, token: str) -> str:
        """Whom a token is about, which is who calls.

        Raises:
            UnauthenticatedError: it is not good here.
            UpstreamError: the keys cannot be had.
        """
        try:
            key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise UnauthenticatedError("the token is signed with a key that is not known")
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError("the token has expired") from None
        except jwt.PyJWTError as error:
            log.info("token refused", extra={"cause": type(error).__name__})
            raise UnauthenticatedError("the token is not good here") from None
        return str(claims["sub"])

    async def aclose(self) -> None:
        """Let go of what is being fetched."""
        await self._keys.aclose()


class _KeyFile:
    def __init__(self, path: Path) -> None:
        self._keys = WatchedFiles([path], _parsed)

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        return _key_of(self._keys.get(), kid)

    async def aclose(self) -> None:
        pass


class _RemoteKeys:
    """Keys of a URL. What is known answers at once; fetching is only waited for where a key is not known."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_FETCH_TIMEOUT_S)
        self._keys: jwt.PyJWKSet | None = None
        self._asked_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> jwt.PyJWK | None:
        key = _key_of(self._keys, kid)
        age_s = self._clock() - self._asked_at
        if self._fetching is None and age_s > (_FRESH_S if key else _COOLDOWN_S):
            self._asked_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        if key is None and self._fetching is not None:
            await asyncio.shield(self._fetching)
            key = _key_of(self._keys, kid)
        if self._keys is None:
            raise UpstreamError("who signs tokens cannot be reached", retry_after_s=_FETCH_TIMEOUT_S)
        return key

    async def aclose(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> None:
        try:
            self._keys = await asyncio.to_thread(self._client.get_jwk_set)
        except (jwt.PyJWTError, ValueError) as error:
            log.error("keys of signed tokens cannot be fetched", extra={"error": str(error)})
        finally:
            self._fetching = None


def _parsed(content: bytes) -> jwt.PyJWKSet:
    try:
        return jwt.PyJWKSet.from_json(content.decode())
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError):
        raise ValueError("the file of --auth_jwks has no keys (JWKS)") from None


def _key_of(keys: jwt.PyJWKSet | None, kid: str | None) -> jwt.PyJWK | None:
    """The key of a name; a set of one key has it for tokens that name none."""
    if keys is None:
        return None
    if kid is None:
        return keys.keys[0] if len(keys.keys) == 1 else None
    return next((key for key in keys.keys if key.key_id == kid), None)
