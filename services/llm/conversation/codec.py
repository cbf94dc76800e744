"""Conversations as JSON, for stores outside this process. Reading checks every field and runs nothing."""

from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter, ValidationError

from services.common.errors import FailedPreconditionError
from services.llm.checks import MAX_CHAT_SIZE
from services.llm.conversation.conversation import Conversation

FORMAT = 1
"""Counted up when an older server could no longer read what a newer one writes, or would lose some of it.

Names of items are the exception: a server that does not know them keeps the messages, which can't be deleted then."""
_MANY = 1 << 53
_LATEST_S = 1e11
"""Seconds since the epoch, in the year 5138."""


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
    if document.format != FORMAT or not _is_possible(document.conversation):
        raise unreadable()
    return document.conversation


def _is_possible(conversation: Conversation) -> bool:
    """Whether the numbers are such as a server writes: others may be written by who wants it to fail."""
    sizes = (conversation.chat_size, conversation.config.chat_size or 0)
    counts = (conversation.version, conversation.max_bytes)
    times = (conversation.created_at, *(held.expires_at for held in conversation.held))
    return (
        all(0 <= size <= MAX_CHAT_SIZE for size in sizes)
        and all(0 <= count < _MANY for count in counts)
        and all(-_LATEST_S < time < _LATEST_S for time in times)
    )


def unreadable() -> FailedPreconditionError:
    """The error for what cannot be read."""
    return FailedPreconditionError(
        "what is stored of this conversation cannot be read by this server; delete it", field="conversation_id"
    )
