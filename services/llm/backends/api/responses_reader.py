"""Reads answers of `/responses`. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming. Servers leave events out: some send the deltas of a
text, some the whole of it, some both, and some tell of a call only at its end.
"""

from collections.abc import Collection, Mapping
from typing import Any

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
)

_USAGE_NAMES = ("input", "output")
_TEXTS: Mapping[str, type[TextDelta] | type[ReasoningDelta]] = {
    "response.output_text": TextDelta,
    "response.refusal": TextDelta,
    "response.reasoning_text": ReasoningDelta,
    "response.reasoning_summary_text": ReasoningDelta,
    "response.reasoning": ReasoningDelta,
}
"""Kinds of text, each streamed as `.delta` and ended with `.done`, which repeats all of it."""
_PARTS: Mapping[str, str] = {
    "output_text": "response.output_text",
    "text": "response.output_text",
    "refusal": "response.refusal",
    "reasoning_text": "response.reasoning_text",
    "summary_text": "response.reasoning_summary_text",
}
_UNNAMED = ""
_CALL = "response.function_call_arguments"
_INCOMPLETE = {
    "max_output_tokens": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class ResponsesReader(AnswerReader):
    """Takes the events of a response apart.

    Args:
        limit: tokens that the answer may have; None where it was not limited. llama.cpp does not say that it cut one.
    """

    def __init__(self, ids: ToolIds, limit: int | None = None) -> None:
        super().__init__(ids)
        self._limit = limit
        self._said: set[tuple[str, str]] = set()
        self._calls: dict[str, PartialCall] = {}
        self._told: set[str] = set()
        self._places: dict[str, str] = {}
        self._any_call = False
        self._refused = False

    def _feed(self, event: Mapping[str, Any]) -> list[BackendEvent]:
        kind = event.get("type") or ""
        if kind in ("response.completed", "response.incomplete", "response.failed", "response.done"):
            return self._whole(event.get("response") or {})
        if kind == "error" or event.get("error"):
            raise failures.of_event(event)
        events: list[BackendEvent] = []
        stem, _, ending = kind.rpartition(".")
        if stem in _TEXTS:
            self._text(stem, ending, event, events)
        elif stem == _CALL:
            self._arguments(ending, event, events)
        elif stem == "response.output_item":
            item = event.get("item") or {}
            self._item(item, ending, {**event, "item_id": item.get("id")}, events)
        return events

    def _whole(self, answer: Mapping[str, Any]) -> list[BackendEvent]:
        """Also the last event of a stream, which repeats the answer: what has not come before is taken from there."""
        status, error = answer.get("status"), answer.get("error")
        if error or status == "failed":
            raise failures.of_event(error or {"message": "status failed"})
        if not answer or status not in ("completed", "incomplete", None):
            raise failures.unreadable(f"status {status}")
        events: list[BackendEvent] = []
        said = {stem for stem, _ in self._said}
        for place, item in enumerate(answer.get("output") or ()):
            self._item(item, "done", {"output_index": place, "item_id": item.get("id")}, events, said)
        for key in list(self._calls):
            self._close(key, events)
        reason, usage = FinishReason.STOP, read_usage(answer.get("usage"), _USAGE_NAMES)
        if status == "incomplete":
            why = (answer.get("incomplete_details") or {}).get("reason")
            if why not in _INCOMPLETE:
                raise failures.broken_off(f"incomplete: {why}")
            reason = _INCOMPLETE[why]
        elif self._any_call:
            reason = FinishReason.TOOL_CALLS
        elif self._refused:
            reason = FinishReason.CONTENT_FILTER
        elif self._limit is not None and usage is not None and usage.output_tokens >= self._limit:
            reason = FinishReason.LENGTH
        self.ended = True
        return [*events, Finished(reason, usage)]

    def end(self) -> list[BackendEvent]:
        if not self.ended:
            raise failures.broken_off("no response.completed")
        return []

    def _text(self, stem: str, ending: str, event: Mapping[str, Any], events: list[BackendEvent]) -> None:
        """A piece of text; the whole of it only where no piece came."""
        names = {(stem, name) for name in _names(event)}
        if ending == "delta":
            text = event.get("delta")
        elif self._has_said(stem, names):
            return
        else:
            text = event.get("text") or event.get("refusal")
        if text and isinstance(text, str):
            self._said.update(names)
            self._refused = self._refused or stem == "response.refusal"
            events.append(_TEXTS[stem](text))

    def _has_said(self, stem: str, names: set[tuple[str, str]]) -> bool:
        """Whether text came under one of these names; a text without a name may be any of its kind."""
        if (stem, _UNNAMED) in self._said | names:
            return any(known == stem for known, _ in self._said)
        return not self._said.isdisjoint(names)

    def _item(
        self,
        item: Mapping[str, Any],
        ending: str,
        event: Mapping[str, Any],
        events: list[BackendEvent],
        said: Collection[str] = (),
    ) -> None:
        """An item of the answer begins or ends; at its end it is there whole. `said`: kinds of text that came."""
        kind = item.get("type")
        if kind == "function_call":
            key = self._key(event)
            if (item.get("call_id") or key) in self._told:
                return
            call = self._call(key, events)
            self._fill(call, item)
            if ending == "done":
                self._close(key, events)
        elif ending == "done" and kind in ("message", "reasoning"):
            for part in (*(item.get("summary") or ()), *(item.get("content") or ())):
                stem = _PARTS.get(part.get("type") or "")
                if stem and stem not in said:
                    self._text(stem, "done", {**event, "text": part.get("text") or part.get("refusal")}, events)

    def _call(self, key: str, events: list[BackendEvent]) -> PartialCall:
        """The call of this key; a new one begins here."""
        if key not in self._calls:
            self._calls[key] = PartialCall()
            events.append(ToolCallStarted())
        return self._calls[key]

    def _arguments(self, ending: str, event: Mapping[str, Any], events: list[BackendEvent]) -> None:
        """A piece of a call's arguments, or all of them."""
        self.pieces += 1
        key = self._key(event)
        if key in self._told:
            return
        call = self._call(key, events)
        if ending == "delta":
            call.arguments.append(event.get("delta") or "")
            return
        self._fill(call, event)
        if call.name and call.id:
            self._close(key, events)

    def _fill(self, call: PartialCall, told: Mapping[str, Any]) -> None:
        """What the beginning or the end of a call says; the end says all of it."""
        if told.get("arguments"):
            call.arguments = [told["arguments"]]
        call.name = call.name or told.get("name") or ""
        call.id = call.id or told.get("call_id") or ""

    def _close(self, key: str, events: list[BackendEvent]) -> None:
        call = self._calls.pop(key)
        self._told |= {key, call.id} if call.id else {key}
        event = finished(call, self._ids)
        self._any_call = self._any_call or isinstance(event, ToolCallEvent)
        events.append(event)

    def _key(self, event: Mapping[str, Any]) -> str:
        """The first name by which an item was known."""
        names = _names(event)
        key = next((self._places[name] for name in names if name in self._places), names[0])
        for name in names:
            self._places.setdefault(name, key)
        return key


def _names(event: Mapping[str, Any]) -> list[str]:
    """What names an item: its place, its id, or both; not every server gives both with every event."""
    place, ident = event.get("output_index"), event.get("item_id")
    return [*([] if place is None else [f"#{place}"]), *([str(ident)] if ident else [])] or [_UNNAMED]
