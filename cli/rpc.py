"""What went wrong in a call, as one line that names the service."""

import grpc
from parley_client import SessionError

from cli.connection import uses_tls
from cli.errors import CliError
from cli.programs import ORCHESTRATOR, Program
from services.common import errors
from services.common.status import from_rpc_error

_DETAILS_KEY = "grpc-status-details-bin"
_NO_HTTP2 = "Failed parsing HTTP/2"
"""In the details of gRPC's own status, where something answers in another protocol."""
_OF_THE_SERVER = (errors.UnavailableError, errors.OverloadedError, errors.UpstreamTimeoutError)


def explain_session(error: SessionError, target: str) -> CliError:
    """The line for a session with the orchestrator that could not be opened, or broke."""
    if isinstance(error.__cause__, grpc.aio.AioRpcError):
        return explain(error.__cause__, ORCHESTRATOR, target, connected=error.opened)
    return CliError(f"{ORCHESTRATOR.title} at {target} {error.message}")


def explain(error: grpc.aio.AioRpcError, program: Program, target: str, *, connected: bool = False) -> CliError:
    """The line for a failed call.

    Args:
        error: what the call raised.
        program: whom the call was meant for.
        target: where it was looked for.
        connected: whether it had answered before, so that it must have gone away.
    """
    parsed = from_rpc_error(error)
    if any(key == _DETAILS_KEY for key, _ in error.trailing_metadata() or ()):
        return CliError(_of_parley(parsed, program))
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and not connected:
        if uses_tls():
            return CliError(f"nothing at {target} that TLS trusts: see --tls_ca, --tls_server_name, --tls_cert")
        if _NO_HTTP2 in (error.details() or ""):
            return CliError(f"what listens at {target} speaks no gRPC, or only with TLS: see --tls, --tls_ca")
        return CliError(f"nothing listens at {target}; start it with `parley up`")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CliError(f"what listens at {target} is not {program.title}")
    if code is grpc.StatusCode.CANCELLED:
        return CliError(f"{program.title} ended the call")
    if code is grpc.StatusCode.INTERNAL:
        return CliError(f"{program.title} had an internal error; its log has the details")
    return CliError(f"{program.title} {parsed.message}")


def _of_parley(error: errors.ParleyError, program: Program) -> str:
    """The server's own words; the orchestrator's name the service at fault, the others speak for themselves."""
    if error.field:
        return f"{error.field}: {error.message}"
    if program is not ORCHESTRATOR and isinstance(error, _OF_THE_SERVER):
        return f"{program.title}: {error.message}"
    return error.message
