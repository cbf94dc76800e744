"""Ids of conversations, responses and messages."""

import secrets
from dataclasses import replace

from services.llm.domain import Message


def new_id(kind: str) -> str:
    """A new unique id: `msg_…`, `resp_…`, `conv_…`."""
    return f"{kind}_{secrets.token_hex(12)}"


def with_ids(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Messages, each with an id: those that have none get one."""
    return tuple(message if message.id else replace(message, id=new_id("msg")) for message in messages)
