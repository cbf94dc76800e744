"""The table between exceptions and statuses, in both directions."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from parley.common.v1 import error_reason_pb2

from services.common import errors
from services.common.errors import ParleyError
from services.common.status import STATUS_CODES, code_of, from_rpc_error, to_status


def all_kinds() -> list[type[ParleyError]]:
    found: list[type[ParleyError]] = []
    pending: list[type[ParleyError]] = [ParleyError]
    while pending:
        kind = pending.pop()
        pending += [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
        found.append(kind)
    return found


def received(status: grpc.Status) -> grpc.aio.AioRpcError:
    """The status as a client gets it."""
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.details)


def rich(status: grpc.Status) -> status_pb2.Status:
    """The rich status inside, as any gRPC client can read it."""
    found = rpc_status.from_call(received(status))  # type: ignore[arg-type]
    assert found is not None
    return found


NOT_ON_THE_WIRE = (ParleyError, errors.UnavailableError, errors.UnreachableError)


@pytest.mark.parametrize("kind", [kind for kind in all_kinds() if kind not in NOT_ON_THE_WIRE])
def test_every_exception_comes_back_as_itself(kind: type[ParleyError]) -> None:
    back = from_rpc_error(received(to_status(kind("what happened", field="a.b", retry_after_s=1.5))))
    assert type(back) is kind
    assert (back.message, back.field, back.retry_after_s) == ("what happened", "a.b", 1.5)


def test_a_plain_unavailable_comes_back_as_a_failed_service() -> None:
    assert type(from_rpc_error(received(to_status(errors.UnavailableError("gone"))))) is errors.UpstreamError


@pytest.mark.parametrize("kind", all_kinds())
def test_every_reason_is_in_the_contract(kind: type[ParleyError]) -> None:
    assert f"ERROR_REASON_{kind.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118  an enum wrapper


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TextTooLongError("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.VoiceNotFoundError("x"), grpc.StatusCode.NOT_FOUND),
        (errors.ToolOutputPendingError("x"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.UpstreamRateLimitedError("x"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.ModelLoadingError("x"), grpc.StatusCode.UNAVAILABLE),
        (errors.UpstreamTimeoutError("x"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (ParleyError("x"), grpc.StatusCode.INTERNAL),
    ],
)
def test_codes_are_the_canonical_ones(error: ParleyError, code: grpc.StatusCode) -> None:
    assert code_of(error) is code
    assert to_status(error).code is code


def test_no_exception_without_a_status() -> None:
    tops = {kind for kind, _ in STATUS_CODES}
    assert {kind for kind in all_kinds() if kind.__base__ is ParleyError} == tops


def test_a_status_carries_the_details_of_googles_error_model() -> None:
    status = rich(to_status(errors.OverloadedError("too many", field="text", retry_after_s=0.25)))
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for packed, message in zip(status.details, (info, bad, retry), strict=True):
        assert packed.Unpack(message)
    assert (info.reason, info.domain) == ("OVERLOADED", "parley")
    assert [(v.field, v.description) for v in bad.field_violations] == [("text", "too many")]
    assert retry.retry_delay.ToMilliseconds() == 250
    assert status.message == "text: too many"


def test_details_that_do_not_apply_are_left_out() -> None:
    assert len(rich(to_status(errors.UpstreamError("failed"))).details) == 1


@pytest.mark.parametrize("message", ["v" * 100_000, "你" * 100_000])
def test_a_long_message_is_cut_so_that_the_status_fits_into_headers(message: str) -> None:
    status = to_status(errors.VoiceNotFoundError(message, field="voice"))
    assert status.details.endswith("…")
    percent_encoded = 3 * len(status.details.encode())
    binary = sum(4 * len(value) // 3 for _, value in status.trailing_metadata)
    assert percent_encoded + binary < 8192
    assert from_rpc_error(received(status)).field == "voice"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnreachableError, "is not reachable"),
        (grpc.StatusCode.UNKNOWN, errors.UnreachableError, "is not reachable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.UpstreamTimeoutError, "did not answer in time"),
        (grpc.StatusCode.INTERNAL, errors.UpstreamError, "failed with INTERNAL"),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.UpstreamError, "failed with INVALID_ARGUMENT"),
    ],
)
def test_the_transports_own_words_are_not_passed_on(
    code: grpc.StatusCode, kind: type[ParleyError], message: str
) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "failed to connect to ipv4:10.0.0.7:1")
    assert type(from_rpc_error(error)) is kind
    assert from_rpc_error(error).message == message


def test_details_of_another_domain_are_not_taken_for_ours() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no bucket")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="VOICE_NOT_FOUND", domain="storage.example"))
    assert type(from_rpc_error(received(rpc_status.to_status(status)))) is errors.UpstreamError


@pytest.mark.parametrize("value", [b"\xff\xff\xff", status_pb2.Status(code=5, message="another").SerializeToString()])
def test_a_mangled_rich_status_is_ignored(value: bytes) -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", value))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailing, "refused")
    assert from_rpc_error(error).message == "is not reachable"


def test_an_unknown_reason_still_gives_the_exception_of_its_code() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such thing")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="OF_A_NEWER_SERVER", domain="parley"))
    assert type(from_rpc_error(received(rpc_status.to_status(status)))) is errors.NotFoundError
