"""The base of the API backends: how an answer is asked for, read, timed, tried again and given up."""

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import httpx2
import orjson

from services.llm.backends.api import failures, startup
from services.llm.backends.api.clocks import Clocks, Limits
from services.llm.backends.api.connection import Connection, read_chunks
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.metrics import provider_metrics
from services.llm.backends.api.provider import Provider, find_provider
from services.llm.backends.api.reader import AnswerReader
from services.llm.backends.api.retries import Retries
from services.llm.backends.api.sampling import effort_option, sampling_flags, sampling_parameters
from services.llm.backends.api.sse import EventTooLongError, SseDecoder
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.backends.base import Backend, Capabilities, RoleNames
from services.llm.backends.stop_strings import StopStrings
from services.llm.domain import BackendEvent, Finished, FinishReason, GenerationRequest, ReasoningDelta, TextDelta

if TYPE_CHECKING:
    from services.llm.settings import LlmSettings

log = logging.getLogger(__name__)

_DONE = b"[DONE]"
_NO_THINKING = "chat_template_kwargs"


class ApiBackend(Backend):
    """Answers come from a provider's HTTP API."""

    name: ClassVar[str]
    """As in `--llm_backend`."""
    path: ClassVar[str]
    """Of the API, below the base URL."""
    parameters: ClassVar[Mapping[str, str]]
    """Fields of `Sampling` that the API has, to its names for them."""

    def __init__(self, settings: "LlmSettings") -> None:
        self._settings = settings
        self._names = RoleNames(settings.init_chat_role, settings.user_role)
        self._model = settings.model_reference
        self._effort = settings.responses_api_reasoning_effort
        self._stream = settings.responses_api_stream
        self._limits = Limits(
            settings.responses_api_first_token_timeout_s,
            settings.responses_api_idle_timeout_s,
            settings.responses_api_request_timeout_s,
        )
        self._provider: Provider
        self._sampling: dict[str, Any]
        self._no_thinking: bool
        self._connection: Connection | None = None
        self._capabilities = Capabilities(
            settings.model, self.name, tools=True, images=True, parallel=settings.responses_api_max_parallel
        )

    @abstractmethod
    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        """The request as the API wants it, but for what `_whole_body` adds."""

    @abstractmethod
    def _effort_parameter(self, effort: str) -> dict[str, Any]:
        """How the API is told the reasoning effort."""

    @abstractmethod
    def _reader(self, ids: ToolIds, body: Mapping[str, Any]) -> AnswerReader:
        """What reads the answer to a request."""

    def _parameter_names(self) -> Mapping[str, str]:
        return self.parameters

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def load(self) -> None:
        settings = self._settings
        self._provider = find_provider(settings)
        self._sampling = sampling_flags(settings, self._parameter_names())
        self._no_thinking = settings.responses_api_disable_thinking and not self._provider.is_openai
        self._connection = Connection(
            self._provider, settings.responses_api_connect_timeout_s, settings.responses_api_max_parallel
        )
        context_length = await startup.check(self._connection, self._provider, self._model)
        self._capabilities = replace(
            self._capabilities, context_length_tokens=context_length, provider=self._provider.name
        )

    def check(self, request: GenerationRequest) -> None:
        effort_option(request.options)
        sampling_parameters(request.sampling, self._parameter_names(), self.name)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        clocks = Clocks(self._limits, whole=not self._stream)
        retries = Retries(self._settings.responses_api_max_retries)
        body = self._whole_body(request)
        while True:
            begun, asked_at = False, time.monotonic()
            try:
                async with aclosing(self._attempt(body, request, clocks)) as batches:
                    async for batch in batches:
                        begun = True
                        for event in batch:
                            yield event
                provider_metrics().ended(self._capabilities, time.monotonic() - asked_at)
                return
            except ProviderFailure as failure:
                provider_metrics().ended(self._capabilities, time.monotonic() - asked_at, failure.error.reason)
                if not begun and self._drop_what_is_refused(body, failure):
                    continue
                wait_s = None if begun else retries.wait_s(failure, clocks.left_s)
                provider_metrics().failed(failure.error.reason, retried=wait_s is not None)
                log.warning(
                    "the provider failed",
                    extra={
                        "error": failure.error.message,
                        "told": self._without_key(failure.told),
                        "retry_in_s": wait_s,
                    },
                )
                if wait_s is None:
                    raise failure.error from None
            await asyncio.sleep(wait_s)

    async def prefill(self, request: GenerationRequest) -> int:
        return 0

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()

    def _whole_body(self, request: GenerationRequest) -> dict[str, Any]:
        body = {"model": self._model, "stream": self._stream, **self._sampling, **self._body(request)}
        body |= sampling_parameters(request.sampling, self._parameter_names(), self.name)
        effort = effort_option(request.options) or self._effort
        if effort:
            body |= self._effort_parameter(effort)
        elif self._no_thinking:
            body[_NO_THINKING] = {"enable_thinking": False}
        return body

    async def _attempt(
        self, body: Mapping[str, Any], request: GenerationRequest, clocks: Clocks
    ) -> AsyncGenerator[list[BackendEvent], None]:
        """One try; yields what is ready together, together.

        Raises:
            ProviderFailure: it has failed.
        """
        assert self._connection is not None, "load comes first"
        reader, stops = self._reader(ToolIds(request.messages), body), StopStrings(request.sampling.stop)
        response = await self._connection.post(self.path, orjson.dumps(body), clocks)
        chunks, ended = read_chunks(response), False
        try:
            read = _read_stream if _is_stream(response) else _read_whole
            async with aclosing(read(chunks, reader, clocks)) as batches:
                async for batch in batches:
                    ended = reader.ended
                    if request.sampling.stop:
                        batch = _stopped(batch, stops)
                    if batch:
                        yield _merged(batch)
                    if stops.hit:
                        return
        finally:
            if ended and not stops.hit:
                self._connection.release(response, chunks)
            else:
                await response.aclose()

    def _drop_what_is_refused(self, body: dict[str, Any], failure: ProviderFailure) -> bool:
        """Whether the provider refuses the wish for no thinking, which is then never sent again: some refuse all that
        they do not know.
        """
        if _NO_THINKING not in body or _NO_THINKING not in f"{failure.told} {failure.parameter}":
            return False
        log.warning("the provider does not know chat_template_kwargs; --responses_api_disable_thinking has no effect")
        del body[_NO_THINKING]
        self._no_thinking = False
        return True

    def _without_key(self, text: str) -> str:
        key = self._provider.api_key
        return text.replace(key, "***") if key else text


def _is_stream(response: httpx2.Response) -> bool:
    """Whether events come, which is up to the server, whatever was asked for.

    Raises:
        ProviderFailure: neither events nor JSON come.
    """
    kind = response.headers.get("content-type", "").lower()
    if "html" in kind:
        raise failures.unreadable(f"content-type {kind}")
    return "json" not in kind


async def _read_stream(
    chunks: AsyncIterator[bytes], reader: AnswerReader, clocks: Clocks
) -> AsyncGenerator[list[BackendEvent], None]:
    decoder = SseDecoder()
    while not reader.ended:
        try:
            async with asyncio.timeout_at(clocks.deadline):
                chunk = await anext(chunks, b"")
        except TimeoutError:
            if not reader.complete:
                raise clocks.failure() from None
            chunk = b""
        pieces = reader.pieces
        batch = _read_events(decoder, chunk, reader)
        if batch:
            yield batch
        if batch or reader.pieces > pieces:
            clocks.token()  # now, since the time that the reader of the answer takes is not the provider's
        if reader.complete:
            clocks.last_word()


def _read_events(decoder: SseDecoder, chunk: bytes, reader: AnswerReader) -> list[BackendEvent]:
    """What a chunk gives; an empty one is the end of the stream."""
    batch: list[BackendEvent] = []
    try:
        for data in decoder.feed(chunk) if chunk else decoder.finish():
            if data == _DONE:
                return batch + reader.end()
            batch += reader.feed(_json_object(data))
            if reader.ended:
                return batch
    except EventTooLongError:
        raise failures.unreadable("an event without end") from None
    return batch if chunk else batch + reader.end()


async def _read_whole(
    chunks: AsyncIterator[bytes], reader: AnswerReader, clocks: Clocks
) -> AsyncGenerator[list[BackendEvent], None]:
    try:
        async with asyncio.timeout_at(clocks.deadline):
            body = b"".join([chunk async for chunk in chunks])
    except TimeoutError:
        raise clocks.failure() from None
    yield reader.whole(_json_object(body))


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise failures.broken_off(f"no JSON in {len(data)} bytes") from None
    if not isinstance(value, dict):
        raise failures.unreadable(f"no JSON object in {len(data)} bytes")
    return value


def _merged(events: list[BackendEvent]) -> list[BackendEvent]:
    """Neighbouring deltas of a kind as one."""
    if len(events) == 1:
        return events
    merged: list[BackendEvent] = []
    for event in events:
        last = merged[-1] if merged else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            merged[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            merged[-1] = ReasoningDelta(last.text + event.text)
        else:
            merged.append(event)
    return merged


def _stopped(events: list[BackendEvent], stops: StopStrings) -> list[BackendEvent]:
    """The events up to a stop string, which not every API knows, nor in any number."""
    kept: list[BackendEvent] = []
    for event in events:
        text = stops.feed(event.text) if isinstance(event, TextDelta) else stops.finish()
        if text:
            kept.append(TextDelta(text))
        if stops.hit:
            return [*kept, Finished(FinishReason.STOP)]
        if not isinstance(event, TextDelta):
            kept.append(event)
    return kept
