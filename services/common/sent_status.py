"""The status that a call has really ended with, in grpc.aio."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

ResultT = TypeVar("ResultT")


class SentStatus:
    """Remembers the status of a call as its server sent it; make it as soon as the call is made.

    grpc.aio reports INTERNAL in its place where a message was being written at the moment when it came, as with a live
    microphone: only the callbacks of the call's end have seen the status of the server.
    """

    def __init__(self, call: Any) -> None:
        self._sent: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._remember)

    def of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The error to go by where the call has raised this one."""
        return self._sent if error.code() is grpc.StatusCode.INTERNAL and self._sent is not None else error

    def _remember(self, call: Any) -> None:
        self._sent = grpc.aio.AioRpcError(
            at_once(call.code()),
            at_once(call.initial_metadata()),
            at_once(call.trailing_metadata()),
            details=at_once(call.details()),
            debug_error_string=at_once(call.debug_error_string()),
        )


def at_once(asked: Coroutine[Any, Any, ResultT]) -> ResultT:
    """What a call that has ended says of its end: a coroutine in grpc.aio, though it has nothing to wait for then."""
    try:
        asked.send(None)
    except StopIteration as answer:
        return answer.value  # type: ignore[no-any-return]
    asked.close()
    raise RuntimeError("the call has not ended")
