"""Conversations as JSON, for stores outside this process. Reading checks every field and runs nothing."""

from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.common.errors import FailedPreconditionError
from services.llm.conversation.conversation import Conversation

FORMAT = 1
"""Counted up when an older server could no longer read what a newer one writes, or would lose some of it.

Names of items are the exception: a server that does not know them keeps the messages, which can't be deleted then."""


@dataclass(frozen=True)
class _Document:
    """What is stored: the fields of the data classes under their names, pictures in base64."""

    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    format: int
    conversation: Conversation


_adapter = TypeAdapter(_Document)


def dump(conversation: Conversation) -> bytes:
    """The JSON of a conversation."""
    return _adapter.dump_json(_Document(FORMAT, conversation))


def load(data: bytes) -> Conversation:
    """The conversation that some JSON holds.

    Raises:
        FailedPreconditionError: it is none, or a newer server has written it.
    """
    try:
        document = _adapter.validate_json(data, strict=True)
    except ValidationError:
        raise unreadable() from None
    if document.format != FORMAT:
        raise unreadable()
    return document.conversation


def unreadable() -> FailedPreconditionError:
    """The error for what cannot be read."""
    return FailedPreconditionError(
        "what is stored of this conversation cannot be read by this server; delete it", field="conversation_id"
    )
