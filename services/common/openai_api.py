"""What the speech engines that ask a server with OpenAI's API share: the client, its key, its errors in our words."""

import logging
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.common.client_security import is_loopback
from services.common.errors import (
    InvalidArgumentError,
    ModelNotFoundError,
    ParleyError,
    StartupError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)

if TYPE_CHECKING:
    import openai

_KEEP_CONNECTIONS_S = 600.0
"""Between two requests; the SDK's own 5 s would mean a new TLS handshake for almost each."""


def client(
    base_url: str, key: SecretStr | None, key_variable: str, *, timeout_s: float, retries: int
) -> "openai.AsyncOpenAI":
    """A client that keeps its connections open.

    Args:
        base_url: of the API; "" is OpenAI's.
        key: None is that of OPENAI_API_KEY; an address on this machine needs none.
        key_variable: the other variable that may hold the key, for the message where there is none.
        timeout_s: of connecting, of the wait for the answer, and between two parts of it (seconds).
        retries: after failures that may pass, before the answer has begun.

    Raises:
        StartupError: there is no key.
        ImportError: openai is not installed.
    """
    import openai

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each request
    limits = openai.DEFAULT_CONNECTION_LIMITS
    return openai.AsyncOpenAI(
        api_key=_key(base_url, key, key_variable),
        base_url=base_url or None,
        timeout=timeout_s,
        max_retries=retries,
        http_client=openai.DefaultAsyncHttpxClient(
            limits=type(limits)(
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=_KEEP_CONNECTIONS_S,
            )
        ),
    )


def explain(error: "openai.OpenAIError", provider: str, field: str) -> ParleyError:
    """The error of a failed request, in words of ours: the provider's may name keys and accounts.

    Args:
        provider: what kind it is, such as "transcription".
        field: of our request, which is at fault where the provider refuses its own.
    """
    import openai

    name = f"the {provider} provider"
    if isinstance(error, openai.APITimeoutError):
        return UpstreamTimeoutError(f"{name} did not answer in time", retry_after_s=1.0)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return UpstreamUnauthenticatedError(f"{name} refuses this server's credentials")
    if isinstance(error, openai.RateLimitError):
        return UpstreamRateLimitedError(f"{name}'s rate limit is reached", retry_after_s=1.0)
    if isinstance(error, openai.NotFoundError):
        return ModelNotFoundError(f"{name} does not have this model")
    if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        return InvalidArgumentError(f"{name} refuses this request", field=field)
    if isinstance(error, openai.APIConnectionError):
        return UpstreamError(f"{name} is not reachable", retry_after_s=1.0)
    return UpstreamError(f"{name} failed", retry_after_s=1.0)


def _key(base_url: str, key: SecretStr | None, variable: str) -> str:
    value = key.get_secret_value() if key else os.environ.get("OPENAI_API_KEY", "")
    host = urlsplit(base_url).hostname or "api.openai.com"
    if not value and not is_loopback(host):
        raise StartupError(f"no API key for {host}: set OPENAI_API_KEY or {variable}")
    return value or "none"
