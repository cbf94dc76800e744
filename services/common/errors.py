"""The exceptions of Parley; the domain and the engines raise them, `status.py` alone knows their gRPC statuses.

ParleyError
├── InvalidArgumentError            the request is wrong, and would be wrong again
│   ├── UnsupportedAudioError       rate, encoding, container, half samples
│   ├── AudioTooLongError
│   ├── TextTooLongError
│   └── ContentFilteredError
├── UnauthenticatedError            no token, or none that is good here
├── NotFoundError
│   ├── ModelNotFoundError
│   ├── VoiceNotFoundError
│   └── ConversationNotFoundError
├── FailedPreconditionError         the request is fine, the state is not
│   ├── ToolOutputPendingError
│   ├── ContextLengthError
│   └── UpstreamUnauthenticatedError
├── ConversationBusyError           it met a turn of another server; trying again helps
├── OverloadedError                 refused before work began; trying again helps
│   ├── QuotaExceededError          the caller's token has used up what it may
│   └── UpstreamRateLimitedError
├── UnavailableError
│   ├── ModelLoadingError
│   ├── ServerDrainingError
│   ├── StoreUnavailableError       where conversations are kept cannot be reached
│   └── UpstreamError               a service or provider behind this one failed
│       └── UnreachableError
└── UpstreamTimeoutError

Messages reach clients: they never hold a path, a key, a class name or a stack trace.
"""

from typing import ClassVar


class ParleyError(Exception):
    """Base of all errors that a client may see.

    Args:
        message: one sentence for a person.
        field: the request field at fault, as a dotted path (`config.audio_format.sample_rate_hertz`), or "".
        retry_after_s: seconds after which trying again may help; None where it would not.
    """

    reason: ClassVar[str] = "UNSPECIFIED"
    """A value of `parley.common.v1.ErrorReason`, without its prefix."""

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidArgumentError(ParleyError):
    """The request is wrong, and would be wrong again."""

    reason = "INVALID_ARGUMENT"


class UnsupportedAudioError(InvalidArgumentError):
    """Audio that is not what its format says, or a format that no one can use."""

    reason = "UNSUPPORTED_AUDIO_FORMAT"


class AudioTooLongError(InvalidArgumentError):
    """More audio than one request may carry."""

    reason = "AUDIO_TOO_LONG"


class TextTooLongError(InvalidArgumentError):
    """More text than one request may carry."""

    reason = "TEXT_TOO_LONG"


class ContentFilteredError(InvalidArgumentError):
    """The provider's content filter refuses the request."""

    reason = "CONTENT_FILTERED"


class UnauthenticatedError(ParleyError):
    """No token, or none that is good here."""

    reason = "UNAUTHENTICATED"


class NotFoundError(ParleyError):
    """Something named in the request does not exist."""

    reason = "INVALID_ARGUMENT"


class ModelNotFoundError(NotFoundError):
    """No such model on this server."""

    reason = "MODEL_NOT_FOUND"


class VoiceNotFoundError(NotFoundError):
    """No such voice on this server."""

    reason = "VOICE_NOT_FOUND"


class ConversationNotFoundError(NotFoundError):
    """No such conversation, or it has expired."""

    reason = "CONVERSATION_NOT_FOUND"


class FailedPreconditionError(ParleyError):
    """The request is fine, but not in the state that the server is in."""

    reason = "INVALID_ARGUMENT"


class ToolOutputPendingError(FailedPreconditionError):
    """A turn was asked for while tool calls wait for their outputs."""

    reason = "TOOL_OUTPUT_PENDING"


class ContextLengthError(FailedPreconditionError):
    """The context does not fit into the model."""

    reason = "CONTEXT_LENGTH_EXCEEDED"


class UpstreamUnauthenticatedError(FailedPreconditionError):
    """The provider refused our credentials."""

    reason = "UPSTREAM_UNAUTHENTICATED"


class ConversationBusyError(ParleyError):
    """Another server runs a turn of this conversation; trying again helps."""

    reason = "CONVERSATION_BUSY"


class OverloadedError(ParleyError):
    """Refused before any work was done, because the server is full."""

    reason = "OVERLOADED"


class QuotaExceededError(OverloadedError):
    """The caller has used up what its token may."""

    reason = "QUOTA_EXCEEDED"


class UpstreamRateLimitedError(OverloadedError):
    """The provider's rate limit."""

    reason = "UPSTREAM_RATE_LIMITED"


class UnavailableError(ParleyError):
    """Not now; another replica, or a later moment, may do."""

    reason = "UPSTREAM_ERROR"


class ModelLoadingError(UnavailableError):
    """The model is still being loaded."""

    reason = "MODEL_LOADING"


class ServerDrainingError(UnavailableError):
    """The server is going down and takes no new work."""

    reason = "SERVER_DRAINING"


class StoreUnavailableError(UnavailableError):
    """Where conversations are kept cannot be reached."""

    reason = "STORE_UNAVAILABLE"


class UpstreamError(UnavailableError):
    """A service or provider behind this one failed."""

    reason = "UPSTREAM_ERROR"


class UnreachableError(UpstreamError):
    """A service behind this one is not there, or its connection broke: another replica, or a new one, may answer. To
    those before this one it is an UpstreamError.
    """


class UpstreamTimeoutError(ParleyError):
    """A service or provider behind this one did not answer in time."""

    reason = "UPSTREAM_TIMEOUT"


class StartupError(Exception):
    """A program cannot serve; the message is one line that says what to do. No client ever sees it."""


def port_taken(what: str, host: str, port: int, flag: str) -> StartupError:
    """The error of a program that cannot do this, such as "listen", at a port that its `--{flag}` names."""
    return StartupError(f"cannot {what} on {host}:{port}; is the port taken? Choose another --{flag}")


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line, for an operator; its kind where it says nothing. Of a file that
    cannot be used its name and the reason, without the number that Python puts before them.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
