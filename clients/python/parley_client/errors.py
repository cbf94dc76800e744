"""How a session ends that does not end well."""

from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

_MAY_GO_ON = (
    grpc.StatusCode.UNAVAILABLE,  # a process is gone, or the network
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # a session's limits, or too many sessions
    grpc.StatusCode.ABORTED,  # another session of the conversation has not ended yet
)


class SessionError(Exception):
    """A session could not be opened, or ended with a status.

    Args:
        code: the gRPC status code.
        message: for a person to read.
        reason: a name of `ErrorReason` without its prefix; empty where no Parley server has spoken.
        field: of the request, where one is at fault.
        retry_after_s: when trying again may help, where the server says so.
        opened: whether the session had been open.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        retry_after_s: float | None = None,
        opened: bool = False,
    ) -> None:
        super().__init__(f"{code.name}{f' {reason}' if reason else ''}: {message}")
        self.code, self.message, self.reason, self.field = code, message, reason, field
        self.retry_after_s, self.opened = retry_after_s, opened

    @property
    def may_go_on(self) -> bool:
        """Whether the conversation may go on in another session."""
        return self.code in _MAY_GO_ON


def session_error(error: grpc.aio.AioRpcError, *, opened: bool) -> SessionError:
    """What a failed call says, with its `google.rpc` details (AIP-193); the call's own error is its cause."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in _details(error):
        for known in (info, bad, retry):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    failure = SessionError(
        error.code(),
        error.details() or "",
        reason=info.reason,
        field=bad.field_violations[0].field if bad.field_violations else "",
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
        opened=opened,
    )
    failure.__cause__ = error
    return failure


def _details(error: grpc.aio.AioRpcError) -> Iterable[any_pb2.Any]:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except (ValueError, DecodeError):  # a proxy's, or one that contradicts the plain status
        return ()
    return status.details if status else ()
