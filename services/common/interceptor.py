"""The one server interceptor: refuses calls while loading or draining, names the session in the logs, counts and traces
calls, and turns every exception into a status of `status.py`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.common import logs, tracing
from services.common.access.access import Access
from services.common.client_security import AUTHORIZATION
from services.common.errors import (
    InvalidArgumentError,
    ModelLoadingError,
    OverloadedError,
    ParleyError,
    ServerDrainingError,
)
from services.common.metrics import ServerMetrics
from services.common.status import INTERNAL_MESSAGE, to_status

log = logging.getLogger(__name__)

ID_METADATA_PREFIX = "parley-"
_READ_ON_S, _READ_ON_IDLE_S = 0.25, 0.015
"""Less than the 20 ms between two messages of live audio."""
_REFUSAL_S = 0.001
"""Before a call is refused that has begun to send: what was sent together has come by then."""
_ID_HEADERS = {ID_METADATA_PREFIX + name.replace("_", "-"): name for name in logs.LOG_IDS}
_HEALTH, _REFLECTION = "/grpc.health.v1.", "/grpc.reflection."


class Gate:
    """Whether new calls are let in, and whether all that were have left."""

    def __init__(self) -> None:
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._refusal: Callable[[], ParleyError] | None = lambda: ModelLoadingError(
            "the model is still loading", retry_after_s=1.0
        )

    def open(self) -> None:
        """Let calls in: the model is loaded."""
        self._refusal = None

    def drain(self) -> None:
        """Refuse new calls for good."""
        self._refusal = lambda: ServerDrainingError("the server is shutting down", retry_after_s=1.0)

    def check(self) -> None:
        """Raise where calls are refused now."""
        if self._refusal is not None:
            raise self._refusal()

    def enter(self) -> None:
        """A call begins, let in or not."""
        self._inside += 1
        self._empty.clear()

    def leave(self) -> None:
        """A call has ended."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Wait until no call is running; health and reflection do not count."""
        await self._empty.wait()


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler but those of health and reflection; where callers need tokens, reflection needs one too."""

    def __init__(self, gate: Gate, metrics: ServerMetrics, access: Access | None = None) -> None:
        self._gate = gate
        self._metrics = metrics
        self._access = access
        self._always_open = Gate()
        self._always_open.open()
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Replace the handler's behaviour by one that checks, counts and translates."""
        method = handler_call_details.method
        if method in self._wrapped:  # handlers are registered for good
            return self._wrapped[method]
        handler: Any = await continuation(handler_call_details)
        is_reflection = method.startswith(_REFLECTION)
        if handler is None or method.startswith(_HEALTH) or (is_reflection and self._access is None):
            return handler  # type: ignore[no-any-return]
        gate = self._always_open if is_reflection else self._gate
        self._wrapped[method] = wrapped = self._wrap(handler, method, gate)
        return wrapped

    def _wrap(self, handler: Any, method: str, gate: Gate) -> "grpc.RpcMethodHandler[Any, Any]":
        sides = (handler.request_streaming, handler.response_streaming)
        kind = "_".join("stream" if streaming else "unary" for streaming in sides)
        wrap = self._streaming if handler.response_streaming else self._unary
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        behaviour = wrap(getattr(handler, kind), method, gate)
        parse = _parser(handler.request_deserializer, streaming=handler.request_streaming)
        return make(behaviour, parse, handler.response_serializer)  # type: ignore[no-any-return]

    def _unary(
        self, behaviour: Callable[..., Awaitable[Any]], method: str, gate: Gate
    ) -> Callable[..., Awaitable[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = _GrpcCall(gate, self._metrics, method, context)
            with call:
                try:
                    gate.check()
                    with await self._admit(context):
                        _check_parsed(request)
                        return await behaviour(request, context)
                except Exception as error:  # noqa: BLE001  the last line of defence
                    await call.abort(error)

        return handle

    def _streaming(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: str, gate: Gate
    ) -> Callable[..., AsyncIterator[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            call = _GrpcCall(gate, self._metrics, method, context)
            with call:
                responses, answered = None, False
                try:
                    gate.check()
                    with await self._admit(context):
                        _check_parsed(request)
                        responses = behaviour(request, context)
                        async for response in responses:
                            answered = True
                            yield response
                except Exception as error:  # noqa: BLE001  the last line of defence
                    if not isinstance(error, OverloadedError) or answered:
                        await _read_on(request)
                    elif hasattr(request, "__aiter__"):
                        await asyncio.sleep(_REFUSAL_S)
                    await call.abort(error)
                finally:
                    # A cancelled bidi call closes this generator; the handler below must hear of it at once.
                    if responses is not None:
                        await responses.aclose()  # type: ignore[attr-defined]

        return handle

    async def _admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> contextlib.AbstractContextManager[None]:
        """Let a call in whose token is good, and hold its place inside the returned context."""
        if self._access is None:
            return _ANYBODY
        metadata = context.invocation_metadata() or ()
        return await self._access.admit(next((str(value) for key, value in metadata if key == AUTHORIZATION), ""))


_ANYBODY = contextlib.nullcontext()


def _parser(deserialize: Callable[[bytes], Any], *, streaming: bool) -> Callable[[bytes], Any]:
    """A deserializer whose failure is an answer, not a fault with a class name: a stream's handler gets the error where
    it reads, a unary one instead of the request, since it would not be called otherwise.
    """

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            error = InvalidArgumentError("the bytes are no message of this method")
        if streaming:
            raise error
        return error

    return parse


async def _read_on(requests: Any) -> None:
    """Before a call ends with an error, take what its client is just sending, for a moment.

    grpc.aio's client reports a write to a call that has just ended as INTERNAL, in place of the status that ended it.
    Ours know better (sent_status.py); for those of others the status comes between two messages, if they are quick.
    """
    if not hasattr(requests, "__aiter__"):
        return
    messages = aiter(requests)
    with contextlib.suppress(Exception):  # the error to tell is the one under way
        async with asyncio.timeout(_READ_ON_S):
            while await asyncio.wait_for(anext(messages, None), _READ_ON_IDLE_S) is not None:
                continue


def _check_parsed(request: Any) -> None:
    if isinstance(request, ParleyError):
        raise request


class Call:
    """One call, of whatever protocol: it counts for the drain and in the metrics, and has a span. `code` is how it
    ends: a status.
    """

    def __init__(self, gate: Gate, metrics: ServerMetrics, method: str, span: tracing.Span | None = None) -> None:
        self._gate, self._metrics, self._method = gate, metrics, method
        self._span = span or tracing.begin(method, kind=tracing.Kind.SERVER)
        self._begun = time.monotonic()
        self.code = "OK"

    def __enter__(self) -> None:
        self._gate.enter()
        self._span.__enter__()
        self._metrics.call_started(self._method)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self.code == "OK" and kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self.code = "CANCELLED"
        self._metrics.call_ended(self._method, self.code, time.monotonic() - self._begun)
        tracing.end_call(self._span, self.code)
        self._span.__exit__(None, None, None)
        self._gate.leave()


class _GrpcCall(Call):
    """One gRPC call: its log ids as well."""

    def __init__(
        self, gate: Gate, metrics: ServerMetrics, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        metadata = context.invocation_metadata() or ()
        caller = tracing.from_metadata(metadata)
        super().__init__(gate, metrics, method, tracing.begin_call(method, tracing.Kind.SERVER, caller))
        self._context = context
        self._ids = logs.ids(**{_ID_HEADERS[key]: str(value) for key, value in metadata if key in _ID_HEADERS})

    def __enter__(self) -> None:
        super().__enter__()
        self._ids.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        self._ids.__exit__(None, None, None)
        super().__exit__(kind, error, traceback)

    async def abort(self, error: Exception) -> None:
        """End the call with the status that the exception stands for; only Parley's own messages reach the client."""
        if self._context.cancelled():  # reading from a client that has gone may fail in many ways
            self.code = "CANCELLED"
            return
        if isinstance(error, ParleyError):
            status = to_status(error)
            self.code = status.code.name
            log.info(
                "call refused",
                extra={"method": self._method, "code": self.code, "reason": error.reason, "error": status.details},
            )
            await self._context.abort_with_status(status)
        if isinstance(error, grpc.aio.AbortError):
            self.code = "ABORTED"
            raise error
        self.code = "INTERNAL"
        log.exception("call failed", extra={"method": self._method}, exc_info=error)
        await self._context.abort(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
