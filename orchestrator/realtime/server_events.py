"""What a session tells its client, as JSON events of the protocol. Pure."""

from typing import Any

import orjson

from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ItemDeleted,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TranscriptCompleted,
    TranscriptUpdated,
)
from orchestrator.realtime.errors import error_json
from orchestrator.realtime.items import Items
from orchestrator.realtime.response_events import ResponseEvents
from orchestrator.realtime.session_config import session_json
from orchestrator.realtime.session_object import Session
from orchestrator.realtime.user_events import UserEvents
from services.common.errors import ParleyError


class ServerEvents:
    """Writes the events of one session, numbered in the order in which they are to be sent.

    Args:
        session_id: as the client is told.
        conversation_id: as the client is told, who may go on with it in a later session.
        extensions: whether events are sent that the protocol does not know (`parley.*`).
    """

    def __init__(self, session_id: str, conversation_id: str, *, extensions: bool) -> None:
        self.session = Session()
        """As the client knows it."""
        self.items = Items()
        self.user = UserEvents(self.items, interim=extensions)
        self.responses = ResponseEvents(self.items, conversation_id, timings=extensions)
        self._session_id, self._conversation_id = session_id, conversation_id
        self._serial = 0

    def write(self, *events: dict[str, Any]) -> list[str]:
        """Give events their ids, and write them as JSON."""
        written = []
        for event in events:
            self._serial += 1
            written.append(orjson.dumps({"event_id": f"event_{self._serial}", **event}).decode())
        return written

    def error(self, error: ParleyError, event_id: str = "") -> list[str]:
        """An error; `event_id` is of the client event at fault, empty where none is."""
        return self.write({"type": "error", "error": error_json(error, event_id)})

    def of(self, event: ServerEvent) -> list[str]:
        """What the client is told of an event of the session."""
        return self.write(*self._translated(event))

    def _translated(self, event: ServerEvent) -> list[dict[str, Any]]:
        match event:
            case AudioDelta():
                return self.responses.audio(event)
            case TextDelta():
                return self.responses.text(event)
            case SpeechStarted():
                self.responses.interrupted()
                return self.user.started(event)
            case SpeechStopped():
                return self.user.stopped(event)
            case TranscriptUpdated():
                return self.user.updated(event)
            case TranscriptCompleted():
                return self.user.completed(event)
            case ResponseCreated():
                return self.responses.created(event)
            case FunctionCall():
                return self.responses.call(event)
            case ResponseDone():
                return self.responses.done(event)
            case SessionCreated():
                conversation = {"id": self._conversation_id, "object": "realtime.conversation"}
                return [
                    {"type": "session.created", "session": session_json(self.session, self._session_id)},
                    {"type": "conversation.created", "conversation": conversation},
                ]
            case SessionUpdated():
                return [{"type": "session.updated", "session": session_json(self.session, self._session_id)}]
            case ItemDeleted():
                deleted = self.items.take(event.item_id) or [event.item_id]
                return [{"type": "conversation.item.deleted", "item_id": item_id} for item_id in deleted]
            case Failure():
                return self._failed(event)

    def _failed(self, event: Failure) -> list[dict[str, Any]]:
        if event.item_id:
            return self.user.lost(event.item_id, event.error)
        told = error_json(event.error, event.client_event_id)
        self.responses.failed(told)
        return [{"type": "error", "error": told}]
