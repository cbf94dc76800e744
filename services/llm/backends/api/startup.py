"""What can be told before the first request: whether the provider is there, takes the key, and has the model."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Iterator

from services.common.errors import StartupError
from services.common.settings import nearest
from services.llm.backends.api.connection import Connection, ListedModel
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.provider import Provider

log = logging.getLogger(__name__)

PATIENCE_S = 4.0
_SECOND_LOOK_S = 0.5
_SHOWN = 3


async def check(connection: Connection, provider: Provider, model: str) -> int:
    """Connect, so that the first turn finds an open connection, and look for the model.

    Returns:
        The tokens that the model's context may have; 0 where the provider does not say.

    Raises:
        StartupError: within 5 seconds, with one line that says what to do.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            listed = await connection.models()
            if not listed:
                return 0
            found = next((entry for entry in listed if _is_same(model, entry.name)), None)
            if found is None and not await connection.has_model(model):
                raise StartupError(_unknown(provider, model, listed))
            return found.context_length_tokens if found else 0
    except TimeoutError:
        raise StartupError(
            f"--responses_api_base_url {provider.base_url}: no answer within {PATIENCE_S:g} s; is the address right?"
        ) from None
    except ProviderFailure as failure:
        if failure.status == 401:
            raise StartupError(f"{provider.base_url} refuses the API key; check {_key_flags(provider)}") from None
        if failure.status == 404 and await _is_one_level_up(connection):
            raise StartupError(
                f"--responses_api_base_url {provider.base_url}: the API is not here but at {provider.base_url}/v1"
            ) from None
        if failure.status:
            # Not every server lists models; whatever is wrong besides, the first request will say.
            log.info("the provider lists no models", extra={"told": failure.told})
            return 0
        raise StartupError(f"--responses_api_base_url {provider.base_url}: {_reason(failure)}") from None


async def _is_one_level_up(connection: Connection) -> bool:
    """Whether the address lacks the version that the API's paths begin with."""
    try:
        async with asyncio.timeout(_SECOND_LOOK_S):
            return await connection.answers("/v1/models")
    except TimeoutError:
        return False


def _is_same(asked: str, listed: str) -> bool:
    """Whether names mean the same model: lists leave out a tag (`:groq`), or add one (`:latest`) or a folder."""
    return listed in (asked, asked.partition(":")[0], f"{asked}:latest", f"models/{asked}")


def _unknown(provider: Provider, model: str, listed: list[ListedModel]) -> str:
    names = [entry.name for entry in listed]
    hint = nearest(model, names)
    has = f"did you mean {hint}?" if hint else f"it has {', '.join(names[:_SHOWN])}{' …' if names[_SHOWN:] else ''}"
    return f"--model_name {model}: {provider.base_url} has no such model; {has}"


def _key_flags(provider: Provider) -> str:
    return provider.key_source if provider.api_key else "OPENAI_API_KEY or PARLEY_RESPONSES_API_API_KEY"


def _reason(failure: ProviderFailure) -> str:
    """Why there is no connection, and what to do."""
    causes = list(_causes(failure))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its certificate is not trusted; set SSL_CERT_FILE to a file with the authority's certificate"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "no TLS connection; is it http:// there?"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "the host name is not known"
    # A name with several addresses gives one error with the text of all.
    refused = f"[Errno {errno.ECONNREFUSED}]"
    if any(isinstance(cause, ConnectionRefusedError) or refused in str(cause) for cause in causes):
        return "connection refused; is the server running?"
    return f"{failure.error.message}; is the address right?"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception with all that it comes from."""
    yield error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for cause in (error.__cause__ or error.__context__, *inner):
        if cause is not None:
            yield from _causes(cause)
