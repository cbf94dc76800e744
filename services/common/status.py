"""The one table between Parley's exceptions and gRPC statuses, read in both directions."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.common import errors

DOMAIN = "parley"
INTERNAL_MESSAGE = "internal error; the server's log has the details"
_LONGEST_MESSAGE = 250
"""Characters. A message may quote the request; statuses travel in headers, where 16 KiB (of which a message takes up to
17 bytes a character) make the whole call fail."""
_UNHEALTHY = "backend unhealthy"
"""How gRPC's own status ends where a server is there but its health is not SERVING."""
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)
"""Where no server has said so: there is none, or (grpc's "Stream removed") the connection of the call is gone."""

# Subclasses before their bases: the first match counts, in both directions.
STATUS_CODES: tuple[tuple[type[errors.ParleyError], grpc.StatusCode], ...] = (
    (errors.InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
    (errors.FailedPreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ConversationBusyError, grpc.StatusCode.ABORTED),
    (errors.OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (errors.UpstreamTimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
)
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Tells the caller's transport (gRFC A6) that another replica will not do better: all share what is behind them."""


@dataclass(frozen=True)
class _Status(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def code_of(error: errors.ParleyError) -> grpc.StatusCode:
    """The canonical status code of an exception."""
    return next((code for kind, code in STATUS_CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def to_status(error: errors.ParleyError) -> grpc.Status:
    """The rich status of an exception: ErrorInfo always, BadRequest for a field, RetryInfo where a retry may help.

    The details follow google.rpc's error model (AIP-193).
    """
    message = error.message if len(error.message) <= _LONGEST_MESSAGE else error.message[: _LONGEST_MESSAGE - 1] + "…"
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=message)
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    message = f"{error.field}: {message}" if error.field else message
    status = rpc_status.to_status(status_pb2.Status(code=code_of(error).value[0], message=message, details=details))
    if isinstance(error, errors.UpstreamError | errors.StoreUnavailableError):
        return _Status(status.code, status.details, (*status.trailing_metadata, _NO_RETRY))
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> errors.ParleyError:
    """The exception that a status stands for, as a caller of a Parley server sees it.

    A status without Parley's ErrorInfo (a dead server, a proxy) becomes an UpstreamError or UpstreamTimeoutError with a
    message of ours, since the transport's own text names addresses.
    """
    message, reason, field, retry_after_s = error.details() or "", "", "", None
    for detail in _details(error):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            reason = info.reason if info.domain == DOMAIN else ""
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            field = bad.field_violations[0].field if bad.field_violations else ""
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    code = error.code()
    if not reason:
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.UpstreamTimeoutError("did not answer in time", retry_after_s=1.0)
        if code is grpc.StatusCode.UNAVAILABLE and message.endswith(_UNHEALTHY):
            return errors.ModelLoadingError("loading its model, or shutting down", retry_after_s=1.0)
        if code in _LOST:
            return errors.UnreachableError("is not reachable", retry_after_s=1.0)
        garbled = code is grpc.StatusCode.INTERNAL  # as by a link that garbles
        return errors.UpstreamError(f"failed with {code.name}", retry_after_s=1.0 if garbled else None)
    message = message.removeprefix(f"{field}: ")
    kind = _kind(code, reason)
    return kind(message, field=field, retry_after_s=retry_after_s)


def is_told(error: grpc.aio.AioRpcError) -> bool:
    """Whether a status is a Parley server's own word, not the transport's."""
    return any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in _details(error))


def _details(error: grpc.aio.AioRpcError) -> Sequence[any_pb2.Any]:
    """The details of a rich status; none where there is no such status, or one that contradicts the plain one."""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except (ValueError, DecodeError):
        return ()
    return status.details if status else ()


def _kind(code: grpc.StatusCode, reason: str) -> type[errors.ParleyError]:
    """The most special exception of errors.py with this code and reason."""
    base = next((kind for kind, known in STATUS_CODES if known is code), errors.UpstreamError)
    pending, found = [base], base
    while pending:
        kind = pending.pop()
        if kind.__dict__.get("reason") == reason and kind.__module__ == errors.__name__:
            found = kind
        pending.extend(kind.__subclasses__())
    return found


def _packed(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
