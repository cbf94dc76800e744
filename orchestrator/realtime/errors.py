"""Parley's errors in the protocol's shape."""

from typing import Any

from orchestrator.field_names import renamed
from orchestrator.realtime.models import BadEventError
from services.common.errors import (
    ConversationBusyError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    ParleyError,
    ServerDrainingError,
)

_PARAMETERS = {
    "session.voice": "session.audio.output.voice",
    "session.llm_model": "session.model",
    "session.stt_model": "session.audio.input.transcription.model",
    "session.language_code": "session.audio.input.transcription.language",
    "session.input_audio_format": "session.audio.input.format",
    "session.output_audio_format": "session.audio.output.format",
    "session.turn_detection": "session.audio.input.turn_detection",
    "session.sampling": "session.max_output_tokens",
    "session.conversation_id": "conversation_id",
    "response_cancel.response_id": "response_id",
    "conversation_item_truncate.item_id": "item_id",
    "conversation_item_delete.item_id": "item_id",
    "response_create": "type",
    "messages[0].tool_call_id": "item.call_id",
    "history[0]": "item",
    "history": "item",
}
"""Fields of the gRPC contract, and where a client of this protocol set them."""
_CLIENTS_FAULT = (InvalidArgumentError, NotFoundError, FailedPreconditionError)
CLOSE_NO_TEXT, CLOSE_POLICY, CLOSE_INTERNAL, CLOSE_RESTART, CLOSE_TRY_AGAIN = 1007, 1008, 1011, 1012, 1013
"""WebSocket close codes (RFC 6455, section 7.4, and IANA's registry)."""


def error_json(error: ParleyError, event_id: str = "") -> dict[str, Any]:
    """The error object; `event_id` is of the client event at fault, empty where none is."""
    parameter = error.field if isinstance(error, BadEventError) else renamed(error.field, _PARAMETERS)
    message = f"{parameter}: {error.message}" if parameter else error.message
    if error.retry_after_s:
        message += f" (try again in {error.retry_after_s:g} s)"
    return {
        "type": "invalid_request_error" if isinstance(error, _CLIENTS_FAULT) else "server_error",
        "code": error.reason.lower(),
        "message": message,
        "param": parameter or None,
        "event_id": event_id or None,
    }


def close_code(error: ParleyError) -> int:
    """With what a WebSocket is closed that this error ends."""
    if isinstance(error, ServerDrainingError):
        return CLOSE_RESTART
    if isinstance(error, OverloadedError):
        return CLOSE_TRY_AGAIN
    return CLOSE_POLICY if isinstance(error, (*_CLIENTS_FAULT, ConversationBusyError)) else CLOSE_INTERNAL
