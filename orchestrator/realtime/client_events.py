"""What a client may send: one model for each event."""

from typing import Any

from pydantic import Field

from orchestrator.realtime.items import Item
from orchestrator.realtime.models import BadEventError, Model, parse
from orchestrator.realtime.session_object import ResponseParameters, Session


class Event(Model):
    """Any event; its id comes back in the error that it causes."""

    type: str
    event_id: str | None = Field(None, max_length=512)


class SessionUpdate(Event):
    """Change what is given; the rest stays."""

    session: Session


class AudioAppend(Event):
    """The next audio of the microphone's, as base64."""

    audio: str


class AudioCommit(Event):
    """The user's turn ends here."""


class AudioClear(Event):
    """Forget what was said since the last turn."""


class ItemCreate(Event):
    """Add an item at the end of the conversation."""

    item: Item
    previous_item_id: str | None = None


class ItemTruncate(Event):
    """The client has played only so much of an item's audio."""

    item_id: str
    content_index: int = 0
    audio_end_ms: int = Field(ge=0)


class ItemRetrieve(Event):
    """Ask for an item."""

    item_id: str


class ItemDelete(Event):
    """Take an item out of the conversation."""

    item_id: str


class ResponseCreate(Event):
    """Answer what the conversation holds."""

    response: ResponseParameters | None = None


class ResponseCancel(Event):
    """Stop a response, or the current one."""

    response_id: str | None = None


_KINDS: dict[str, type[Event]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": AudioAppend,
    "input_audio_buffer.commit": AudioCommit,
    "input_audio_buffer.clear": AudioClear,
    "conversation.item.create": ItemCreate,
    "conversation.item.truncate": ItemTruncate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.delete": ItemDelete,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}


def event_id_of(value: dict[str, Any]) -> str:
    """The id that the client gave an event; empty where it gave none."""
    event_id = value.get("event_id")
    return event_id if isinstance(event_id, str) else ""


def parse_event(value: dict[str, Any]) -> Event:
    """The event in a JSON object.

    Raises:
        BadEventError: naming the field at fault.
    """
    name = value.get("type")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(_KINDS)
        given = "is missing" if name is None else f"{str(name)[:80]!r} is unknown"
        raise BadEventError(f"{given}; one of {known}", field="type")
    return parse(kind, value)
