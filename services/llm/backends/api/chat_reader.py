"""Reads answers of `/chat/completions`. Pure.

https://platform.openai.com/docs/api-reference/chat-streaming, and what other providers make of it.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from services.llm.backends.api import failures
from services.llm.backends.api.reader import AnswerReader, read_usage
from services.llm.backends.api.tool_calls import PartialCall, finished
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallEvent,
    ToolCallStarted,
    Usage,
)

_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_FAILED = frozenset({"error", "insufficient_system_resource"})
_USAGE_NAMES = ("prompt", "completion")


class ChatReader(AnswerReader):
    """Takes chunks apart. Usage comes in a chunk after the last, in the last, in each, or never."""

    def __init__(self, ids: ToolIds) -> None:
        super().__init__(ids)
        self._calls: dict[int, PartialCall] = {}
        self._index = -1
        self._any_call = False
        self._refused = False
        self._reason: str | None = None
        self._usage: Usage | None = None

    def _feed(self, event: Mapping[str, Any]) -> list[BackendEvent]:
        if event.get("error"):
            raise failures.of_event(event)
        events: list[BackendEvent] = []
        choices = event.get("choices")
        if choices:
            choice = choices[0]
            self._read(choice.get("delta") or {}, events)
            self._finish_reason(choice, events)
        usage = event.get("usage")
        if usage:
            self._usage = read_usage(usage, _USAGE_NAMES) or self._usage
            if self.complete:
                events += self.end()
        return events

    def _whole(self, answer: Mapping[str, Any]) -> list[BackendEvent]:
        if answer.get("error"):
            raise failures.of_event(answer)
        choices = answer.get("choices")
        if not choices:
            raise failures.unreadable("no choices")
        self._usage = read_usage(answer.get("usage"), _USAGE_NAMES)
        events: list[BackendEvent] = []
        self._read(choices[0].get("message") or {}, events)
        self._finish_reason({"finish_reason": "stop", **choices[0]}, events)
        return events + self.end()

    def end(self) -> list[BackendEvent]:
        if self.ended:
            return []
        if self._reason is None:
            raise failures.broken_off("no finish_reason")
        self.ended = True
        reason = _REASONS.get(self._reason, FinishReason.STOP)
        if self._any_call and reason is FinishReason.STOP:
            reason = FinishReason.TOOL_CALLS
        elif self._refused and reason is FinishReason.STOP:
            reason = FinishReason.CONTENT_FILTER
        elif not self._any_call and reason is FinishReason.TOOL_CALLS:
            reason = FinishReason.STOP
        return [Finished(reason, self._usage)]

    def _read(self, delta: Mapping[str, Any], events: list[BackendEvent]) -> None:
        """Text, thinking and calls of a delta, or of a whole message."""
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and isinstance(thought, str):
            events.append(ReasoningDelta(thought))
        fragments, content = delta.get("tool_calls") or (), delta.get("content")
        if content and self._calls:
            # The end of a call and the text after it may come together; a call that is whole goes before the text.
            for fragment in fragments:
                if self._continues(fragment):
                    self._add(fragment, events)
            fragments = [fragment for fragment in fragments if not self._continues(fragment)]
            self._close_calls(events, only_whole=True)
        if isinstance(content, str):
            events += [TextDelta(content)] if content else []
        else:
            _read_parts(content, events)
        if delta.get("refusal"):
            # A refusal is an answer to the user; that it is one, the finish reason says.
            self._refused = True
            events.append(TextDelta(delta["refusal"]))
        for fragment in fragments:
            self._add(fragment, events)

    def _finish_reason(self, choice: Mapping[str, Any], events: list[BackendEvent]) -> None:
        reason = choice.get("finish_reason")
        if not reason:
            return
        if reason in _FAILED:
            raise failures.of_event(choice.get("error") or {"message": f"finish_reason {reason}"})
        self._reason, self.complete = str(reason), True
        self._close_calls(events)

    def _add(self, fragment: Mapping[str, Any], events: list[BackendEvent]) -> None:
        """A piece of a call. Providers repeat index 0, leave it out, give the id once or each time, or never."""
        self.pieces += 1
        function = fragment.get("function") or {}
        ident, name, index = fragment.get("id") or "", function.get("name") or "", fragment.get("index")
        if not isinstance(index, int):
            index = self._index if self._index in self._calls and not name else self._index + 1
        known = self._calls.get(index)
        if known is not None and _begins_another(known, ident, name):
            self._close(index, events)
            known = None
        if known is None:
            known = self._calls[index] = PartialCall()
            events.append(ToolCallStarted())
        self._index = index
        known.id, known.name = known.id or ident, known.name or name
        arguments = function.get("arguments")
        if arguments:
            # Text by the specification; some servers give the object itself.
            known.arguments.append(arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode())

    def _continues(self, fragment: Mapping[str, Any]) -> bool:
        """Whether a piece belongs to a call that has begun."""
        function, index = fragment.get("function") or {}, fragment.get("index", self._index)
        known = self._calls.get(index)
        return known is not None and not _begins_another(known, fragment.get("id") or "", function.get("name") or "")

    def _close_calls(self, events: list[BackendEvent], *, only_whole: bool = False) -> None:
        """Nothing is added to the calls any more: the answer ends, or text follows."""
        for index in sorted(self._calls):
            if not only_whole or self._calls[index].is_whole:
                self._close(index, events)

    def _close(self, index: int, events: list[BackendEvent]) -> None:
        event = finished(self._calls.pop(index), self._ids)
        self._any_call = self._any_call or isinstance(event, ToolCallEvent)
        events.append(event)


def _begins_another(known: PartialCall, ident: str, name: str) -> bool:
    """Whether a piece with the index of a known call belongs to another one."""
    if ident and known.id:
        return ident != known.id
    return bool(name and known.name) and bool(known.arguments) and known.is_whole


def _read_parts(parts: Any, events: list[BackendEvent]) -> None:
    """Content in parts, in which some providers tell thinking from text."""
    for part in parts if isinstance(parts, list) else ():
        if part.get("type") == "text" and part.get("text"):
            events.append(TextDelta(part["text"]))
        elif part.get("type") == "thinking":
            inner = part.get("thinking")
            texts = [inner] if isinstance(inner, str) else [piece.get("text") or "" for piece in inner or ()]
            events += [ReasoningDelta(text) for text in texts if text]
