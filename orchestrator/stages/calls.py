"""What the three clients share: failed calls become errors that name the service and the client's own field."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from orchestrator.field_names import renamed
from services.common.errors import (
    ModelNotFoundError,
    OverloadedError,
    ParleyError,
    UnauthenticatedError,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
    VoiceNotFoundError,
)
from services.common.sent_status import SentStatus
from services.common.status import from_rpc_error, is_told

ResponseT = TypeVar("ResponseT")
ResultT = TypeVar("ResultT")

if TYPE_CHECKING:
    _Call = grpc.aio.UnaryStreamCall[Any, ResponseT] | grpc.aio.StreamStreamCall[Any, ResponseT]


@dataclass(frozen=True)
class Timeouts:
    """Seconds.

    Attributes:
        work_s: of a call that makes an answer, its speech, or a transcript of a recording.
        call_s: of any other call: names, and what concerns the history.
    """

    work_s: float
    call_s: float


PATIENCE_S = 2.0
"""A service that is full is asked again where there may be room so soon: an answer that is late is better than none."""

_FIELDS: Mapping[str, str] = {
    "config.config.audio_format": "session.input_audio_format",
    "config.config.language_code": "session.language_code",
    "config.config.model": "session.stt_model",
    "config.endpointing": "session.turn_detection.endpointing",
    "config.audio_format": "session.input_audio_format",
    "config.language_code": "session.language_code",
    "config.model": "session.stt_model",
    "audio_format": "session.output_audio_format",
    "voice": "session.voice",
    "model": "session.llm_model",
    "language_code": "session.language_code",
    "instructions": "session.instructions",
    "sampling": "session.sampling",
    "tools": "session.tools",
    "tool_choice": "session.tool_choice",
    "conversation_id": "session.conversation_id",
    "messages": "history",
    "item_ids[0]": "conversation_item_delete.item_id",
}
"""Request fields of the services, and where a client of the orchestrator set them."""


def field_of_client(field: str) -> str:
    """The orchestrator's own name for a field that a service complains of."""
    return renamed(field, _FIELDS)


def explain(error: grpc.aio.AioRpcError, service: str) -> ParleyError:
    """The error of a failed call, for the orchestrator's client: what is down or slow is named."""
    parsed = from_rpc_error(error)
    parsed.field = field_of_client(parsed.field)
    if isinstance(parsed, UnauthenticatedError):  # the client is not to blame
        return UpstreamUnauthenticatedError(f"the {service} service does not take this server's token")
    if isinstance(parsed, UnavailableError | UpstreamTimeoutError):
        if not isinstance(parsed, UpstreamError | UpstreamTimeoutError):
            joint = " is not ready: "
        else:
            joint = ": " if is_told(error) else " "
        parsed.message = f"the {service} service{joint}{parsed.message}"
        parsed.args = (parsed.message,)
    return parsed


@contextlib.contextmanager
def explained(service: str) -> Iterator[None]:
    """Turns a failed unary call inside into its explanation."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise explain(error, service) from None


async def responses(call: "_Call[ResponseT]", service: str) -> AsyncGenerator[ResponseT, None]:
    """The responses of a streaming call. However the reading ends, the call is cancelled: leaving the loop alone would
    let the server work on.
    """
    status = SentStatus(call)
    try:
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        raise explain(status.of(error), service) from None
    finally:
        call.cancel()


async def when_there_is_room(act: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Do this; once more, after as long as the service asks for, where it refuses for want of room."""
    try:
        return await act()
    except OverloadedError as error:
        if not error.retry_after_s or error.retry_after_s > PATIENCE_S:
            raise
        await asyncio.sleep(error.retry_after_s)
        return await act()


def check_name(
    name: str, known: Iterable[str], field: str, kind: type[VoiceNotFoundError] | type[ModelNotFoundError]
) -> None:
    """Raise `kind` where a name that a client gave is not among the known ones."""
    if name not in known:
        raise kind(f"no such name: {name[:80]!r}", field=field)
