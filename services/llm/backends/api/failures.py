"""The one table from what a provider, or the way to it, does wrong to Parley's errors. Pure.

Messages are ours: what a provider writes may name keys, accounts and hosts, and goes to the log alone, without the key.
"""

import email.utils
import re
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpcore2
import httpx2

from services.common import errors

_RETRY_AFTER_S = 1.0
"""Where a retry may help and the provider does not say when."""
_LONGEST_RETRY_AFTER_S = 3600.0
_CONTEXT = re.compile(
    r"context.{0,20}(length|size|window)|(maximum|max).{0,20}context|too many (input )?tokens|prompt is too long"
    r"|input (is )?too long|reduce the length",
    re.IGNORECASE,
)
_CONTENT = re.compile(r"content_?(filter|policy)|moderation|responsible_?ai", re.IGNORECASE)
_NO_IMAGES = re.compile(
    r"image[^.]{0,60}(not|only|un) ?supported|supports? image input|not a (multimodal|vision)|only '?text'? content"
    r"|(not|n't) support[^.]{0,20}(image|vision|multimodal)",
    re.IGNORECASE,
)
"""What servers say to an image for a model of texts: llama.cpp with status 500, OpenRouter 404, others 400."""
_QUOTA = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.IGNORECASE)
_NO_MODEL = re.compile(r"model", re.IGNORECASE)
_SECRET = re.compile(r"\b(sk|hf|gsk|key|Bearer)[-_ ][\w*.-]{6,}")
_LONGEST_LOGGED = 300
_CONNECT_TIMEOUTS = (httpx2.ConnectTimeout, httpx2.PoolTimeout, httpcore2.ConnectTimeout, httpcore2.PoolTimeout)
_CONNECT_ERRORS = (httpx2.ConnectError, httpx2.ProxyError, httpcore2.ConnectError, httpcore2.ProxyError, ssl.SSLError)
_FIELDS = {
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "max_tokens": "sampling.max_output_tokens",
    "max_completion_tokens": "sampling.max_output_tokens",
    "max_output_tokens": "sampling.max_output_tokens",
    "frequency_penalty": "sampling.frequency_penalty",
    "presence_penalty": "sampling.presence_penalty",
    "seed": "sampling.seed",
    "stop": "sampling.stop",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "reasoning_effort": "backend_options.reasoning_effort",
    "reasoning.effort": "backend_options.reasoning_effort",
    "messages": "messages",
    "input": "messages",
}
"""Names of an API's parameters, as its errors give them, to the request's fields."""


class ProviderFailure(Exception):
    """A request to a provider has failed.

    Attributes:
        error: what the client is told.
        may_pass: whether the same request may succeed a little later.
        wait_s: seconds that the provider wants to be left alone; None where it does not say, 0 for none at all.
        told: what the provider said, for the log.
        parameter: the parameter of the API that it names, "" where it names none.
        status: HTTP status of the response; 0 where there was none, or a good one.
    """

    def __init__(
        self,
        error: errors.ParleyError,
        *,
        may_pass: bool = False,
        wait_s: float | None = None,
        told: str = "",
        parameter: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.may_pass = may_pass
        self.wait_s = wait_s
        self.told = _SECRET.sub("***", told)[:_LONGEST_LOGGED]
        self.parameter = parameter
        self.status = status


def of_status(status: int, headers: Mapping[str, str], body: object) -> ProviderFailure:
    """A response with an HTTP error status.

    Args:
        status: 400 or more.
        headers: of the response; names in lower case.
        body: what is in it: the JSON object under "error", any other JSON, or text.
    """
    code, told, parameter = _read(body)
    wait_s = _retry_after_s(headers)
    hint_s = _RETRY_AFTER_S if wait_s is None else wait_s
    said = f"{code} {told}"

    def failure(error: errors.ParleyError, *, may_pass: bool = False) -> ProviderFailure:
        return ProviderFailure(
            error,
            may_pass=may_pass,
            wait_s=wait_s,
            told=f"{status} {said}".strip(),
            parameter=parameter,
            status=status,
        )

    if status in (401, 403):
        return failure(errors.UpstreamUnauthenticatedError("the provider refuses this server's credentials"))
    if status == 402 or (status == 429 and _QUOTA.search(said)):
        return failure(errors.UpstreamRateLimitedError("this server's credit at the provider is used up"))
    if status == 429:
        limited = errors.UpstreamRateLimitedError("the provider's rate limit is reached", retry_after_s=hint_s)
        return failure(limited, may_pass=True)
    if status == 408 or status == 504:
        timed_out = errors.UpstreamTimeoutError("the provider did not answer in time", retry_after_s=hint_s)
        return failure(timed_out, may_pass=True)
    if _NO_IMAGES.search(said):
        return failure(errors.InvalidArgumentError("this model takes no images", field="messages"))
    if status == 501:
        return failure(errors.UpstreamError("the provider cannot do this"))
    if status >= 500 or status in (409, 425):
        unavailable = errors.UpstreamError(f"the provider failed with HTTP status {status}", retry_after_s=hint_s)
        return failure(unavailable, may_pass=True)
    if status == 413 or _CONTEXT.search(said):
        return failure(errors.ContextLengthError("the context is longer than the model takes", field="messages"))
    if status == 404:
        if isinstance(body, Mapping) and _NO_MODEL.search(said):
            return failure(errors.ModelNotFoundError("the provider does not have this model"))
        return failure(errors.UpstreamError("the provider has no such API"))
    if _CONTENT.search(said):
        return failure(errors.ContentFilteredError("the provider's content filter refuses this", field="messages"))
    field = _FIELDS.get(parameter, "messages" if parameter.startswith(("messages[", "input[")) else "")
    problem = "the provider does not take this value" if field else "the provider refuses this request"
    return failure(errors.InvalidArgumentError(problem, field=field))


def of_event(error: object) -> ProviderFailure:
    """An error that comes inside an answer: the object under "error", whose code may be a word or an HTTP status."""
    code, told, _ = _read(error)
    status = next((int(word) for word in code.split() if word.isdecimal() and 400 <= int(word) <= 599), 0)
    if not status:
        status = next((known for word, known in _WORDS if word in code.lower()), 500)
    if status >= 500:
        broken = errors.UpstreamError("the provider failed while it answered", retry_after_s=_RETRY_AFTER_S)
        context = _CONTEXT.search(f"{code} {told}")
        return of_status(400, {}, error) if context else ProviderFailure(broken, may_pass=True, told=f"{code} {told}")
    return of_status(status, {}, error)


_WORDS = (
    ("rate_limit", 429),
    ("quota", 429),
    ("context_length", 400),
    ("invalid", 400),
    ("content_filter", 400),
    ("authentication", 401),
    ("permission", 403),
    ("not_found", 404),
    ("timeout", 408),
    ("overloaded", 503),
)
"""Words in the codes of errors inside answers, and the HTTP statuses that mean the same."""


def of_transport(error: Exception) -> ProviderFailure:
    """A failure of the way to the provider. A connection that was lost is tried again at once: a server may close one
    that was idle just as it is used.
    """
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, _CONNECT_TIMEOUTS):
        slow = errors.UpstreamTimeoutError("connecting to the provider takes too long", retry_after_s=_RETRY_AFTER_S)
        return ProviderFailure(slow, may_pass=True, told=told)
    if isinstance(error, httpx2.TimeoutException | httpcore2.TimeoutException):
        late = errors.UpstreamTimeoutError("the provider did not answer in time", retry_after_s=_RETRY_AFTER_S)
        return ProviderFailure(late, may_pass=True, told=told)
    if isinstance(error, _CONNECT_ERRORS):
        away = errors.UpstreamError("the provider is not reachable", retry_after_s=_RETRY_AFTER_S)
        return ProviderFailure(away, may_pass=True, told=told)
    lost = errors.UpstreamError("the connection to the provider was lost", retry_after_s=_RETRY_AFTER_S)
    return ProviderFailure(lost, may_pass=True, wait_s=0.0, told=told)


def broken_off(told: str = "") -> ProviderFailure:
    """An answer that ended before its end."""
    error = errors.UpstreamError("the provider's answer broke off", retry_after_s=_RETRY_AFTER_S)
    return ProviderFailure(error, may_pass=True, told=told)


def unreadable(told: str = "") -> ProviderFailure:
    """An answer that is none: a web page, no JSON."""
    return ProviderFailure(errors.UpstreamError("the provider's answer cannot be read"), told=told)


def _read(body: object) -> tuple[str, str, str]:
    """Code (with type and status), message and parameter of an error, as far as there are any."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if not isinstance(inner, Mapping):
            return _word(body.get("code")), str(inner), ""
        code = " ".join(filter(None, (_word(inner.get(name)) for name in ("code", "type", "status"))))
        told = inner.get("message") or inner.get("detail") or inner.get("msg") or ""
        return code, told if isinstance(told, str) else repr(told), _word(inner.get("param"))
    return "", body if isinstance(body, str) else "" if body is None else repr(body), ""


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of `retry-after-ms` or `Retry-After` (RFC 9110, 10.2.3: seconds or a date); None where there is none."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / divisor
        except ValueError:
            continue
        return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S) if seconds == seconds else None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    # The only clock that is shared with the provider; a wrong one makes a wait too short or long, within bounds.
    return min(max(date.timestamp() - time.time(), 0.0), _LONGEST_RETRY_AFTER_S)
