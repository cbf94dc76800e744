"""Ids of tool calls: each unique in its conversation, and yet the provider sees those that it gave. Pure."""

import re
import secrets
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from services.llm.domain import Message, Role

_MARK = re.compile(r"~\d+\Z")
_ID_CHARACTERS = string.ascii_letters + string.digits


class ToolIds:
    """Gives every call of an answer an id of its own.

    Args:
        messages: the context, whose ids are taken.
    """

    def __init__(self, messages: Iterable[Message]) -> None:
        self._taken = {call.id for message in messages for call in message.tool_calls}

    def unique(self, given: str) -> str:
        """The provider's id where it is new, with a mark where it is not, a made one where there is none."""
        ident = given or "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))
        number = 2
        while ident in self._taken:
            ident = f"{given}~{number}"
            number += 1
        self._taken.add(ident)
        return ident


def as_given(messages: Sequence[Message]) -> Iterator[Message]:
    """The messages with the ids that the provider gave, but for an answer in which it repeats itself."""
    known: dict[str, str] = {}
    for message in messages:
        if message.tool_calls:
            bare = {call.id: _MARK.sub("", call.id) for call in message.tool_calls}
            own = bare if len(set(bare.values())) == len(bare) else {ident: ident for ident in bare}
            known.update(own)
            calls = tuple(replace(call, id=own[call.id]) for call in message.tool_calls)
            yield replace(message, tool_calls=calls)
        elif message.role is Role.TOOL:
            yield replace(message, tool_call_id=known.get(message.tool_call_id, message.tool_call_id))
        else:
            yield message
