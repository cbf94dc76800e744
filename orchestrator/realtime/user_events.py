"""What the user's side of a session becomes in the protocol. Pure."""

from dataclasses import dataclass
from typing import Any

from orchestrator.domain import SpeechStarted, SpeechStopped, TranscriptCompleted, TranscriptUpdated
from orchestrator.realtime.errors import error_json
from orchestrator.realtime.items import Items, item_json
from services.common.errors import ParleyError


@dataclass
class _Utterance:
    started_s: float | None = None
    seconds: float = 0.0
    interim: str = ""
    sent: str = ""
    """What the transcript's deltas have said so far."""


class UserEvents:
    """Events of the user's speech.

    Args:
        items: where the user's items go.
        interim: whether interim transcripts are sent whole as well, in `parley.input_audio_transcription.updated`.
    """

    def __init__(self, items: Items, *, interim: bool) -> None:
        self._items, self._interim = items, interim
        self._utterances: dict[str, _Utterance] = {}

    def started(self, event: SpeechStarted) -> list[dict[str, Any]]:
        """The user begins to speak, or speaks on over an answer."""
        utterance = self._utterance(event.item_id)
        if utterance.started_s is None:
            utterance.started_s = event.start_s
        at = round(event.start_s * 1000)
        return [{"type": "input_audio_buffer.speech_started", "audio_start_ms": at, "item_id": event.item_id}]

    def stopped(self, event: SpeechStopped) -> list[dict[str, Any]]:
        """The user's turn is over, and becomes an item whose transcript follows."""
        utterance = self._utterance(event.item_id)
        events: list[dict[str, Any]] = []
        if utterance.started_s is not None:
            utterance.seconds = max(0.0, event.end_s - utterance.started_s)
            at = round(event.end_s * 1000)
            events = [{"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at, "item_id": event.item_id}]
        return events + self._committed(event.item_id)

    def updated(self, event: TranscriptUpdated) -> list[dict[str, Any]]:
        """The transcript so far. What the last two of them agree on becomes a delta: an interim transcript may still
        change, what a delta has said may not.
        """
        utterance = self._utterance(event.item_id)
        agreed = _common_words(utterance.interim, event.text)
        utterance.interim = event.text
        events = self._delta(event.item_id, utterance, agreed)
        if self._interim:
            kind = "parley.input_audio_transcription.updated"
            events.append({"type": kind, "item_id": event.item_id, "transcript": event.text})
        return events

    def completed(self, event: TranscriptCompleted) -> list[dict[str, Any]]:
        """The final transcript."""
        events = self._committed(event.item_id)
        utterance = self._utterances.pop(event.item_id, _Utterance())
        events += self._delta(event.item_id, utterance, event.text)
        item = self._items.get(event.item_id)
        if item is not None:
            item["content"][0]["transcript"] = event.text
        kind = "conversation.item.input_audio_transcription.completed"
        usage = {"type": "duration", "seconds": round(utterance.seconds, 3)}
        return [*events, {**_part(kind, event.item_id), "transcript": event.text, "usage": usage}]

    def lost(self, item_id: str, error: ParleyError) -> list[dict[str, Any]]:
        """There will be no transcript."""
        events = self._committed(item_id)
        self._utterances.pop(item_id, None)
        told = error_json(error)
        del told["event_id"]
        kind = "conversation.item.input_audio_transcription.failed"
        return [*events, {**_part(kind, item_id), "error": told}]

    def _utterance(self, item_id: str) -> _Utterance:
        return self._utterances.setdefault(item_id, _Utterance())

    def _committed(self, item_id: str) -> list[dict[str, Any]]:
        """The speech becomes an item, unless it is one."""
        if self._items.get(item_id) is not None:
            return []
        content = [{"type": "input_audio", "transcript": None}]
        item = item_json("message", item_id, "completed", role="user", content=content)
        previous = self._items.add(item)
        return [
            {"type": "input_audio_buffer.committed", "item_id": item_id, "previous_item_id": previous},
            {"type": "conversation.item.added", "item": item, "previous_item_id": previous},
            {"type": "conversation.item.done", "item": item, "previous_item_id": previous},
        ]

    def _delta(self, item_id: str, utterance: _Utterance, text: str) -> list[dict[str, Any]]:
        if len(text) <= len(utterance.sent) or not text.startswith(utterance.sent):
            return []
        delta, utterance.sent = text[len(utterance.sent) :], text
        return [{**_part("conversation.item.input_audio_transcription.delta", item_id), "delta": delta}]


def _part(kind: str, item_id: str) -> dict[str, Any]:
    return {"type": kind, "item_id": item_id, "content_index": 0}


def _common_words(before: str, after: str) -> str:
    """The words that two texts begin with alike."""
    length = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), -1)
    if length < 0:
        length = min(len(before), len(after))
    if length == len(before) == len(after):
        return after
    return after[: max(0, after.rfind(" ", 0, length + 1))]
