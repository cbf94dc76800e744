"""What holds for the tool calls of every model: their ids, their arguments, their place in a history. Pure."""

import secrets
import string
from collections.abc import Sequence
from dataclasses import replace

from services.llm.domain import Message, Role, TextPart, Tool, ToolChoice, ToolMode
from services.llm.tools import json_calls
from services.llm.tools.parser import Signatures

_ID_CHARACTERS = string.ascii_letters + string.digits


def new_call_id() -> str:
    """A unique id: nine letters and digits, since some chat templates take no other."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))


def callable_tools(tools: Sequence[Tool], choice: ToolChoice | None) -> Sequence[Tool]:
    """The tools that a turn may call: none where the choice is that none is called."""
    return () if choice is not None and choice.mode is ToolMode.NONE else tools


def signatures(tools: Sequence[Tool]) -> Signatures:
    """Tools as parsers know them."""
    return {tool.name: tool.parameters_json_schema for tool in tools}


def check_arguments(text: str) -> str:
    """What is wrong with the arguments of a call, "" where nothing is; no text at all means no arguments."""
    try:
        return "" if isinstance(json_calls.loads(text.strip() or "{}"), dict) else "the arguments are no JSON object"
    except ValueError:
        return "the arguments are not valid JSON"


def outputs_after_calls(messages: Sequence[Message]) -> list[Message]:
    """The history as chat models want it: outputs right after their calls, whatever was said meanwhile after those.

    Text that the model wrote after a call, in the same answer, joins the message of the call. Outputs of calls that are
    not there are left out.
    """
    outputs = {message.tool_call_id: message for message in messages if message.role is Role.TOOL}
    joined: list[Message] = []
    before = None
    for message in messages:
        if before is not None and before.tool_calls and message.role is before.role:
            text = joined[-1].text + message.text
            content = (TextPart(text),) if text else ()
            message = replace(joined.pop(), content=content, tool_calls=before.tool_calls + message.tool_calls)
        if message.role is not Role.TOOL:
            joined.append(message)
        before = message
    return [
        item
        for message in joined
        for item in (message, *(outputs[call.id] for call in message.tool_calls if call.id in outputs))
    ]
