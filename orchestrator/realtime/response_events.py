"""What the responses of a session become in the protocol. Pure.

A response's output is a list of items: what is said, and the function calls. What is said is one message, but for a
response that goes on after the user's voice has stopped it: a client of this protocol has cut the first message off at
what it has played, so what follows is a message of its own, whose audio begins at zero again.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain import AudioDelta, FunctionCall, ResponseCreated, ResponseDone, ResponseStatus, TextDelta
from orchestrator.realtime.items import Items, item_json
from orchestrator.realtime.session_config import format_json
from services.common.audio_format import AudioFormat
from services.common.turn_stages import stage_seconds


@dataclass
class _Message:
    """A message that is being said."""

    item: dict[str, Any]
    index: int
    spoken: bool
    offset_s: float = 0.0
    """Of its first audio, from the start of the response's."""
    audio_s: float = 0.0
    text: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def id(self) -> str:
        return str(self.item["id"])


@dataclass
class _Response:
    id: str
    item_id: str
    audio_format: AudioFormat | None
    """Of its audio; None where it is text alone."""
    output: list[dict[str, Any]] = field(default_factory=list)
    messages: list[_Message] = field(default_factory=list)
    cancelled: bool = False
    """The client has asked for its end."""
    error: dict[str, Any] | None = None

    @property
    def message(self) -> _Message | None:
        """The one that is being said."""
        last = self.messages[-1] if self.messages else None
        return last if last is not None and last.item["status"] == "in_progress" else None


class ResponseEvents:
    """Events of responses.

    Args:
        items: where the items of responses go.
        conversation_id: named in each response.
        timings: whether `parley.turn_timings` follows each response.
    """

    def __init__(self, items: Items, conversation_id: str, *, timings: bool) -> None:
        self._items, self._conversation_id, self._timings = items, conversation_id, timings
        self._response: _Response | None = None

    def created(self, event: ResponseCreated) -> list[dict[str, Any]]:
        """A response begins."""
        self._response = response = _Response(event.response_id, event.item_id, event.audio_format)
        return [{"type": "response.created", "response": self._json(response, "in_progress")}]

    def interrupted(self) -> None:
        """The client has been told to stop playing."""
        message = self._response.message if self._response is not None else None
        if message is not None and message.audio_s:
            message.interrupted = True

    def cancelled_by_client(self) -> None:
        """The client has asked for the end of the response."""
        if self._response is not None:
            self._response.cancelled = True

    def failed(self, error: dict[str, Any]) -> None:
        """Something went wrong; if that ends the response, its end says so."""
        if self._response is not None:
            self._response.error = {name: error[name] for name in ("type", "code", "message")}

    def text(self, event: TextDelta) -> list[dict[str, Any]]:
        """New text of the response."""
        response = self._current(event.response_id)
        if response is None:
            return []
        events, message = self._open(response, event.offset_s or 0.0)
        message.text.append(event.text)
        kind = "response.output_audio_transcript.delta" if message.spoken else "response.output_text.delta"
        return [*events, {**_part(kind, response, message), "delta": event.text}]

    def audio(self, event: AudioDelta) -> list[dict[str, Any]]:
        """New audio of the response."""
        response = self._current(event.response_id)
        if response is None or response.audio_format is None:
            return []
        events, message = self._open(response, event.offset_s)
        message.audio_s += len(event.audio) / response.audio_format.bytes_per_second
        delta = base64.b64encode(event.audio).decode()
        return [*events, {**_part("response.output_audio.delta", response, message), "delta": delta}]

    def call(self, event: FunctionCall) -> list[dict[str, Any]]:
        """A function is called; what was said before goes on meanwhile."""
        response = self._current(event.response_id)
        if response is None:
            return []
        call, index = event.call, len(response.output)
        fields = {"call_id": call.id, "name": call.name}
        begun = item_json("function_call", f"item_{call.id}", "in_progress", **fields, arguments="")
        item = {**begun, "status": "completed", "arguments": call.arguments_json}
        response.output.append(item)
        previous = self._items.add(item)
        place = {"response_id": response.id, "output_index": index}
        arguments = {**place, "item_id": item["id"], "call_id": call.id}
        return [
            {"type": "response.output_item.added", **place, "item": begun},
            {"type": "conversation.item.added", "item": begun, "previous_item_id": previous},
            {"type": "response.function_call_arguments.delta", **arguments, "delta": call.arguments_json},
            {
                "type": "response.function_call_arguments.done",
                **arguments,
                "name": call.name,
                "arguments": call.arguments_json,
            },
            {"type": "response.output_item.done", **place, "item": item},
            {"type": "conversation.item.done", "item": item, "previous_item_id": previous},
        ]

    def done(self, event: ResponseDone) -> list[dict[str, Any]]:
        """The response has ended, and its audio has been played or cut off."""
        response = self._current(event.response_id)
        if response is None:
            return []
        cut = event.status is not ResponseStatus.COMPLETED
        message = response.message
        events: list[dict[str, Any]] = []
        if message is not None:
            if cut and len(response.messages) == 1:
                message.text = [event.transcript]  # what the history keeps
            events = self._close(response, message, "incomplete" if cut else "completed")
        events.append({"type": "response.done", "response": self._json(response, event.status.value, event)})
        self._response = None
        if self._timings:
            events.append(_timings_json(event))
        return events

    def played(self, item_id: str) -> tuple[str, float, float] | None:
        """For an item that is being said: the item as the session names it, the offset of its first audio and the end
        of what was sent of it, in seconds of the response's audio. None for any other.
        """
        response = self._response
        message = response.message if response is not None else None
        if response is None or message is None or message.id != item_id:
            return None
        return response.item_id, message.offset_s, message.offset_s + message.audio_s

    def _current(self, response_id: str) -> _Response | None:
        response = self._response
        return response if response is not None and response.id == response_id else None

    def _open(self, response: _Response, offset_s: float) -> tuple[list[dict[str, Any]], _Message]:
        """The message that is being said; a new one where there is none, or where the client has cut it off."""
        events: list[dict[str, Any]] = []
        message = response.message
        if message is not None and message.interrupted:
            events = self._close(response, message, "incomplete")
            message = None
        if message is not None:
            return events, message
        number, index = len(response.messages), len(response.output)
        item_id = response.item_id if number == 0 else f"{response.item_id}_{number + 1}"
        item = item_json("message", item_id, "in_progress", role="assistant", content=[])
        message = _Message(item, index, response.audio_format is not None, offset_s)
        response.messages.append(message)
        response.output.append(item)
        previous = self._items.add(item, response.item_id if number else "")
        begun = {**item, "content": []}
        place = {"response_id": response.id, "output_index": index}
        return [
            *events,
            {"type": "response.output_item.added", **place, "item": begun},
            {"type": "conversation.item.added", "item": begun, "previous_item_id": previous},
            {**_part("response.content_part.added", response, message), "part": _content_part(message, "")},
        ], message

    def _close(self, response: _Response, message: _Message, status: str) -> list[dict[str, Any]]:
        text = "".join(message.text)
        if message.spoken:
            content = {"type": "output_audio", "transcript": text}
            said = [
                _part("response.output_audio.done", response, message),
                {**_part("response.output_audio_transcript.done", response, message), "transcript": text},
            ]
        else:
            content = {"type": "output_text", "text": text}
            said = [{**_part("response.output_text.done", response, message), "text": text}]
        message.item |= {"status": status, "content": [content]}
        place = {"response_id": response.id, "output_index": message.index}
        return [
            *said,
            {**_part("response.content_part.done", response, message), "part": _content_part(message, text)},
            {"type": "response.output_item.done", **place, "item": message.item},
            {"type": "conversation.item.done", "item": message.item},
        ]

    def _json(self, response: _Response, status: str, done: ResponseDone | None = None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "object": "realtime.response",
            "id": response.id,
            "conversation_id": self._conversation_id,
            "status": status,
            "status_details": None,
            "output": list(response.output),
            "output_modalities": ["text" if response.audio_format is None else "audio"],
            "usage": None,
        }
        if response.audio_format is not None:
            told["audio"] = {"output": {"format": format_json(response.audio_format)}}
        if done is not None:
            told["status_details"] = _status_details(response, done.status)
            told["usage"] = _usage(done)
        return told


def _part(kind: str, response: _Response, message: _Message) -> dict[str, Any]:
    return {
        "type": kind,
        "response_id": response.id,
        "item_id": message.id,
        "output_index": message.index,
        "content_index": 0,
    }


def _content_part(message: _Message, text: str) -> dict[str, Any]:
    return {"type": "audio", "transcript": text} if message.spoken else {"type": "text", "text": text}


def _status_details(response: _Response, status: ResponseStatus) -> dict[str, Any] | None:
    match status:
        case ResponseStatus.CANCELLED:
            reason = "client_cancelled" if response.cancelled else "turn_detected"
            return {"type": "cancelled", "reason": reason}
        case ResponseStatus.INCOMPLETE:
            return {"type": "incomplete"}
        case ResponseStatus.FAILED:
            return {"type": "failed", "error": response.error}
        case _:
            return None


def _usage(done: ResponseDone) -> dict[str, Any] | None:
    usage = done.usage
    if usage is None:
        return None
    cached = usage.cached_input_tokens
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {"text_tokens": usage.input_tokens, "audio_tokens": 0, "cached_tokens": cached},
        "output_token_details": {"text_tokens": usage.output_tokens, "audio_tokens": 0},
    }


def _timings_json(done: ResponseDone) -> dict[str, Any]:
    """When each step was reached, from the end of the user's speech, and what each stage added to the wait; in ms."""
    steps = {name: round(span * 1000, 1) for name, span in vars(done.timings).items() if span is not None}
    stages = {name: round(span * 1000, 1) for name, span in stage_seconds(vars(done.timings)).items()}
    return {"type": "parley.turn_timings", "response_id": done.response_id, "steps_ms": steps, "stages_ms": stages}
