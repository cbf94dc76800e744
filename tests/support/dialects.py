"""The same answers in the words of both APIs, as the servers stream them."""

import json
from abc import ABC, abstractmethod
from typing import Any

Json = dict[str, Any]


def sse(*events: Json | str) -> list[str]:
    """Events as they go over the wire, each a piece of its own."""
    return [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]


class Dialect(ABC):
    """One API."""

    backend: str
    path: str

    @abstractmethod
    def text(self, text: str) -> Json:
        """A piece of text."""

    @abstractmethod
    def thought(self, text: str) -> Json:
        """A piece of thinking."""

    @abstractmethod
    def call(self, ident: str, name: str, *pieces: str, place: int = 0) -> list[Json]:
        """A tool call, with its arguments in pieces."""

    @abstractmethod
    def end(self, reason: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> list[Json | str]:
        """All that ends an answer: for the reason (`stop`, `length`, `content_filter`, `tool_calls`), with usage."""

    @abstractmethod
    def error(self, code: str, message: str) -> Json:
        """An error inside a stream."""

    @abstractmethod
    def whole(self, text: str, reason: str = "stop") -> Json:
        """An answer in one piece."""

    def answer(self, *texts: str, reason: str = "stop") -> list[str]:
        """A streamed answer."""
        return sse(*(self.text(text) for text in texts), *self.end(reason))


class Chat(Dialect):
    """`/chat/completions`."""

    backend = "chat-completions"
    path = "/v1/chat/completions"

    def text(self, text: str) -> Json:
        return self._chunk({"content": text})

    def thought(self, text: str) -> Json:
        return self._chunk({"reasoning_content": text})

    def call(self, ident: str, name: str, *pieces: str, place: int = 0) -> list[Json]:
        head = {"index": place, "id": ident, "type": "function", "function": {"name": name, "arguments": ""}}
        rest = [{"index": place, "function": {"arguments": piece}} for piece in pieces]
        return [self._chunk({"tool_calls": [part]}) for part in (head, *rest)]

    def end(self, reason: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> list[Json | str]:
        last: list[Json | str] = [{"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}]
        if usage:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
            last.append({"id": "c", "choices": [], "usage": counts})
        return [*last, "[DONE]"]

    def error(self, code: str, message: str) -> Json:
        return {"error": {"code": code, "message": message}}

    def whole(self, text: str, reason: str = "stop") -> Json:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}

    def _chunk(self, delta: Json) -> Json:
        return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


class Responses(Dialect):
    """`/responses`."""

    backend = "responses-api"
    path = "/v1/responses"

    def text(self, text: str) -> Json:
        return {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": text}

    def thought(self, text: str) -> Json:
        return {"type": "response.reasoning_text.delta", "output_index": 0, "item_id": "r", "delta": text}

    def call(self, ident: str, name: str, *pieces: str, place: int = 0) -> list[Json]:
        place += 1  # after the message
        item = {"type": "function_call", "id": f"fc_{place}", "call_id": ident, "name": name}
        named = {"output_index": place, "item_id": f"fc_{place}"}
        delta, arguments = "response.function_call_arguments.delta", "".join(pieces)
        return [
            {"type": "response.output_item.added", "output_index": place, "item": {**item, "arguments": ""}},
            *({"type": delta, **named, "delta": piece} for piece in pieces),
            {"type": "response.function_call_arguments.done", **named, "arguments": arguments},
            {"type": "response.output_item.done", "output_index": place, "item": {**item, "arguments": arguments}},
        ]

    def end(self, reason: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> list[Json | str]:
        counts = {"usage": {"input_tokens": usage[0], "output_tokens": usage[1]}} if usage else {}
        why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
        if why:
            details = {"status": "incomplete", "incomplete_details": {"reason": why}, **counts}
            return [{"type": "response.incomplete", "response": details}]
        return [{"type": "response.completed", "response": {"status": "completed", **counts}}]

    def error(self, code: str, message: str) -> Json:
        return {"type": "error", "code": code, "message": message}

    def whole(self, text: str, reason: str = "stop") -> Json:
        (end,) = self.end(reason)
        assert isinstance(end, dict)
        content = [{"type": "output_text", "text": text}]
        return {**end["response"], "output": [{"type": "message", "role": "assistant", "content": content}]}


DIALECTS = (Responses(), Chat())
