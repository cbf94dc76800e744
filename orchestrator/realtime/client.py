"""What a client's events do to its session."""

from typing import Any

from orchestrator.live import LiveSession
from orchestrator.realtime import client_events as events
from orchestrator.realtime.items import Items, from_base64, item_json, message
from orchestrator.realtime.models import BadEventError, merged
from orchestrator.realtime.names import with_names_of_this_server
from orchestrator.realtime.server_events import ServerEvents
from orchestrator.realtime.session_config import response_config, session_config
from orchestrator.sessions import new_id
from orchestrator.stages import Services
from services.common.errors import FailedPreconditionError

_SLACK_S = 0.1
"""By which a client's clock may be ahead of the audio that it was sent."""


class RealtimeClient:
    """Carries out the events of one client; what it is answered at once is returned."""

    def __init__(self, session: LiveSession, services: Services, told: ServerEvents) -> None:
        self._session, self._services, self._told = session, services, told
        self._uncommitted = 0
        """Bytes of audio since the last turn that the client has ended."""

    async def handle(self, value: dict[str, Any]) -> list[str]:
        """Carry out an event.

        Raises:
            ParleyError: where it cannot be; the session lives on.
        """
        if value.get("type") == "input_audio_buffer.append" and isinstance(value.get("audio"), str):
            await self._append(value["audio"])  # fifty times a second: a model costs more than the rest
            return []
        event = events.parse_event(value)
        match event:
            case events.SessionUpdate():
                await self._update(event)
            case events.AudioCommit():
                if not self._uncommitted:
                    raise FailedPreconditionError("there is no audio to commit", field="input_audio_buffer")
                self._uncommitted = 0
                await self._session.commit_audio()
            case events.AudioClear():
                self._uncommitted = 0
                self._session.clear_audio()
                return self._told.write({"type": "input_audio_buffer.cleared"})
            case events.ItemCreate():
                return self._create_item(event)
            case events.ItemTruncate():
                return self._truncate(event)
            case events.ItemRetrieve():
                item = self._told.items.known(event.item_id)
                return self._told.write({"type": "conversation.item.retrieved", "item": item})
            case events.ItemDelete():
                items = self._told.items
                known = items.get(event.item_id) is not None
                self._session.delete_item(items.name(event.item_id), event.event_id or "", missing_ok=known)
            case events.ResponseCreate():
                wanted = event.response
                config = None if wanted is None else response_config(wanted, self._told.session)
                if config is not None:
                    config = await with_names_of_this_server(config, self._services)
                self._session.create_response(config)
            case events.ResponseCancel():
                self._session.cancel_response(event.response_id or "")
                self._told.responses.cancelled_by_client()
        return []

    async def _append(self, text: str) -> None:
        audio = from_base64(text, "audio")
        self._uncommitted += len(audio)
        await self._session.append_audio(audio)

    async def _update(self, event: events.SessionUpdate) -> None:
        wanted = merged(self._told.session, event.session)
        config = await with_names_of_this_server(session_config(wanted), self._services)
        await self._session.update(config)
        self._told.session = wanted

    def _create_item(self, event: events.ItemCreate) -> list[str]:
        items: Items = self._told.items
        if event.previous_item_id not in (None, items.last_id or "root"):
            raise BadEventError("items can only be added at the end here", field="previous_item_id")
        item = event.item
        if item.id is not None and items.get(item.id) is not None:
            raise BadEventError("there is an item with this id already", field="item.id")
        item_id = item.id or new_id("item")
        self._session.create_item(message(item, item_id), event.event_id or "")
        fields = item.model_dump(mode="json", exclude_none=True, exclude={"id", "object", "status", "type"})
        told = item_json(item.type, item_id, "completed", **fields)
        previous = items.add(told)
        place = {"item": told, "previous_item_id": previous}
        return self._told.write(
            {"type": "conversation.item.added", **place}, {"type": "conversation.item.done", **place}
        )

    def _truncate(self, event: events.ItemTruncate) -> list[str]:
        """Of an item that is no longer spoken the history is settled already, by the server's own clock."""
        item = self._told.items.known(event.item_id)
        if item.get("role") != "assistant":
            raise BadEventError("only what the assistant says can be truncated", field="item_id")
        played = self._told.responses.played(event.item_id)
        if played is not None:
            spoken_as, begin_s, end_s = played
            at_s = begin_s + event.audio_end_ms / 1000
            if at_s > end_s + _SLACK_S:
                longest = round((end_s - begin_s) * 1000)
                raise BadEventError(f"the item has {longest} ms of audio so far", field="audio_end_ms")
            self._session.truncate(spoken_as, at_s)
        return self._told.write(
            {
                "type": "conversation.item.truncated",
                "item_id": event.item_id,
                "content_index": event.content_index,
                "audio_end_ms": event.audio_end_ms,
            }
        )
