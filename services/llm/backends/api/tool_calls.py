"""Puts tool calls together from the pieces in which an API streams them. Pure."""

from dataclasses import dataclass, field

import orjson

from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import InvalidToolCall, ToolCall, ToolCallEvent


@dataclass
class PartialCall:
    """A call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The arguments so far."""
        return "".join(self.arguments)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments so far are JSON."""
        try:
            orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return False
        return True


def finished(call: PartialCall, ids: ToolIds) -> ToolCallEvent | InvalidToolCall:
    """The event for a call of which nothing more will come. No arguments at all are those of a tool that takes none."""
    ident, text = ids.unique(call.id), call.text
    try:
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        return InvalidToolCall(ident, call.name, text, "the arguments are not JSON")
    if not isinstance(arguments, dict):
        return InvalidToolCall(ident, call.name, text, "the arguments are no JSON object")
    if not call.name:
        return InvalidToolCall(ident, call.name, text, "the call names no tool")
    return ToolCallEvent(ToolCall(ident, call.name, text if text.strip() else "{}"))
