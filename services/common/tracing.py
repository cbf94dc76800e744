"""Traces: what took how long in one turn, over all services, joined by W3C trace context in gRPC metadata.

Nothing here knows OpenTelemetry. Spans that have ended go to a sink, which `otlp.py` is where `--otlp_endpoint` is set;
without one every span is `OFF`, which does nothing. Spans are for the event loop's thread.

Recognition of live audio is one call for a whole session, while each turn is a trace of its own. So the trace of a
spoken turn has ids that both sides make from the id of the utterance: see `of_utterance`.
"""

import asyncio
import contextlib
import hashlib
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from enum import Enum
from typing import NamedTuple, Self

from services.common.errors import ParleyError

HEADER = "traceparent"
_HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_NO_FAILURES = ("OK", "CANCELLED")
_ids = random.Random()  # of its own: models seed the common one

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value | None]
"""Named as in OpenTelemetry's semantic conventions where those have a name; what is None is left out."""


class Context(NamedTuple):
    """What a span is known by elsewhere; one that is not `sampled` is recorded nowhere, nor is what belongs to it."""

    trace_id: int
    span_id: int
    sampled: bool = True

    @property
    def header(self) -> str:
        """As W3C Trace Context writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


class Kind(Enum):
    """Which end of a call a span is, if it is one."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Span:
    """Work with a beginning and an end. This one is not recorded; `begin` makes those that are.

    As a context manager it is the current span inside, and ends with the block.
    """

    context: Context | None = None
    ended: bool = True

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def event(self, name: str, at: float | None = None) -> None:
        """Something happened: now, or at this time of the monotonic clock."""

    def end(self, error_type: str = "", at: float | None = None) -> None:
        """It is over; with an `error_type` it has failed. Only the first end counts."""

    def activate(self) -> None:
        """Make it the current span of this task, and of the tasks that this one starts, from now on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        return


OFF = Span()
"""What all spans are while tracing is off."""
_current: ContextVar[Span] = ContextVar("parley_span", default=OFF)


class RecordedSpan(Span):
    """A span that is told to the sink. Times are of the monotonic clock, in seconds."""

    context: Context

    def __init__(
        self,
        name: str,
        kind: Kind,
        context: Context,
        parent: Context | None,
        links: tuple[Context, ...],
        begun_at: float,
        attributes: Attributes,
    ) -> None:
        self.name, self.kind, self.context, self.parent, self.links = name, kind, context, parent, links
        self.begun_at = begun_at
        self.ended_at = begun_at
        self.attributes: dict[str, Value] = {}
        self.set(attributes)
        self.events: list[tuple[str, float]] = []
        self.error_type = ""
        self.ended = False
        self._inside: Token[Span] | None = None

    def set(self, attributes: Attributes) -> None:
        self.attributes.update((name, value) for name, value in attributes.items() if value is not None)

    def event(self, name: str, at: float | None = None) -> None:
        self.events.append((name, time.monotonic() if at is None else at))

    def end(self, error_type: str = "", at: float | None = None) -> None:
        if not self.ended:
            self.ended = True
            self.ended_at = max(self.begun_at, time.monotonic() if at is None else at)
            self.error_type = error_type
            if _sink is not None and self.context.sampled:
                _sink(self)

    def activate(self) -> None:
        _current.set(self)

    def __enter__(self) -> Self:
        self._inside = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self._inside is not None:
            with contextlib.suppress(ValueError):  # an abandoned generator is closed in another context
                _current.reset(self._inside)
        self.end(_error_type(error))


def of_model(operation: str, provider: str, model: str | None = None) -> dict[str, Value | None]:
    """What a span of work done by a model has, by the semantic conventions for generative AI: the loaded model, never
    one that a client asked for.
    """
    return {"gen_ai.operation.name": operation, "gen_ai.provider.name": provider, "gen_ai.request.model": model}


Sink = Callable[[RecordedSpan], None]
_sink: Sink | None = None
_content = False


def send_to(sink: Sink | None, *, content: bool = False) -> None:
    """Turn tracing on, or off with None; `content` is whether spans may hold what was said and written."""
    global _sink, _content
    _sink, _content = sink, content


def content() -> bool:
    """Whether spans may hold what was said and written."""
    return _content and _sink is not None


def current() -> Span:
    """The span of the work being done."""
    return _current.get()


def begin(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: Context | None = None,
    context: Context | None = None,
    at: float | None = None,
) -> Span:
    """A span that begins now, or at this time of the monotonic clock.

    Args:
        parent: what it is a part of, if not of the current span.
        context: for the first span of a trace, ids that were agreed on; it is linked to the current span.
    """
    if _sink is None:
        return OFF
    around = _current.get().context
    links: tuple[Context, ...] = ()
    if context is None:
        parent = parent or around
        trace_id, sampled = (_ids.getrandbits(128) or 1, True) if parent is None else (parent.trace_id, parent.sampled)
        context = Context(trace_id, _ids.getrandbits(64) or 1, sampled)
    elif around is not None:
        links = (around,)
    begun_at = time.monotonic() if at is None else at
    return RecordedSpan(name, kind, context, parent, links, begun_at, attributes or {})


def begin_call(method: str, kind: Kind, parent: Context | None = None) -> Span:
    """A span of a gRPC call, `/package.Service/Method`, at its server or its client."""
    if _sink is None:
        return OFF
    name = method.removeprefix("/")
    return begin(name, {"rpc.system.name": "grpc", "rpc.method": name}, kind=kind, parent=parent)


def end_call(span: Span, code: str) -> None:
    """The call has ended with a status of this name."""
    span.set({"rpc.response.status_code": code})
    span.end("" if code in _NO_FAILURES else code)


def new_trace() -> Context | None:
    """Ids for a trace of its own; None while tracing is off."""
    return None if _sink is None else Context(_ids.getrandbits(128) or 1, _ids.getrandbits(64) or 1, _sampled())


def of_utterance(utterance_id: str) -> Context | None:
    """The first span of the turn that an utterance of a recognition call begins; None while tracing is off.

    Trace and span id are the first 24 bytes of SHA-256 of the utterance's id, which is random.
    """
    if _sink is None:
        return None
    digest = hashlib.sha256(utterance_id.encode()).digest()
    return Context(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]), _sampled())


def from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Context | None:
    """The span of whoever makes a call, where the call's metadata name one."""
    if _sink is None:
        return None
    header = next((str(value) for key, value in metadata if key == HEADER), "")
    match = _HEADER.fullmatch(header)
    if match is None:
        return None
    trace_id, span_id, flags, _ = match.groups()
    return Context(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))


def log_ids() -> dict[str, str]:
    """What log lines of the current span carry."""
    context = _current.get().context
    return {} if context is None else {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _error_type(error: BaseException | None) -> str:
    """Cancelling is no error."""
    if error is None or isinstance(error, asyncio.CancelledError | GeneratorExit):
        return ""
    return error.reason if isinstance(error, ParleyError) else type(error).__name__


def _sampled() -> bool:
    around = _current.get().context
    return around is None or around.sampled
