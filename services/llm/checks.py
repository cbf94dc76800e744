"""What is wrong with a request, said with the name of the field. Pure."""

import math
import re
from collections.abc import Sequence

from services.common import wire
from services.common.errors import InvalidArgumentError, TextTooLongError
from services.llm.backends.base import Capabilities
from services.llm.domain import ImagePart, Message, Role, Sampling, TextPart, Tool, ToolChoice, ToolMode, TurnRequest
from services.llm.languages import is_language_tag
from services.llm.tools import json_calls

MAX_MESSAGES = 1000
MAX_PARTS = 10_000
MAX_TOOLS = 128
MAX_OPTIONS_BYTES = 64 << 10
MAX_STOPS = 16
MAX_STOP_CHARS = 256
MAX_CHAT_SIZE = 10_000
MAX_ITEM_ID_CHARS = 512
MAX_JSON_DEPTH = 64
_TOOL_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def check_turn(request: TurnRequest, capabilities: Capabilities, max_chars: int) -> None:
    """Check all that can be told without the conversation.

    Raises:
        InvalidArgumentError: naming the field.
        TextTooLongError: naming the text at which the limit is passed.
    """
    if not request.conversation_id:
        if not request.messages:
            raise InvalidArgumentError("is required without a conversation_id", field="messages")
        if request.held:
            raise InvalidArgumentError("HELD needs a conversation_id", field="commit_policy")
    check_messages(request.messages, capabilities)
    check_length(request.messages, request.instructions, max_chars)
    check_sampling(request.sampling)
    check_tools(request.tools or (), capabilities, max_chars, "tools.tools")
    check_tool_choice(request.tool_choice, request.tools)
    _check_item_id(request.answer_item_id, "answer_item_id")
    if request.language_code and not is_language_tag(request.language_code):
        raise InvalidArgumentError("is no BCP-47 language tag", field="language_code")
    if request.segment_sentences is not None and not 1 <= request.segment_sentences <= 100:
        raise InvalidArgumentError("is outside 1 to 100", field="segment_sentences")


def check_count(count: int, most: int, what: str, field: str) -> None:
    """Check that there are no more of something than may be.

    Raises:
        InvalidArgumentError: naming the field.
    """
    if count > most:
        raise InvalidArgumentError(f"{count} {what} are more than {most}", field=field)


def check_messages(messages: Sequence[Message], capabilities: Capabilities, field: str = "messages") -> None:
    """Check that each message has what its role needs, and nothing that the model cannot take.

    Raises:
        InvalidArgumentError: naming the field.
    """
    for index, message in enumerate(messages):
        _check_message(message, capabilities, f"{field}[{index}]")


def _check_message(message: Message, capabilities: Capabilities, path: str) -> None:
    role = message.role
    _check_item_id(message.item_id, f"{path}.item_id")
    if message.tool_calls and role is not Role.ASSISTANT:
        raise InvalidArgumentError("belongs to ROLE_ASSISTANT alone", field=f"{path}.tool_calls")
    if bool(message.tool_call_id) is not (role is Role.TOOL):
        problem = "is required with ROLE_TOOL" if role is Role.TOOL else "belongs to ROLE_TOOL alone"
        raise InvalidArgumentError(problem, field=f"{path}.tool_call_id")
    if (message.tool_calls or role is Role.TOOL) and not capabilities.tools:
        field = f"{path}.tool_calls" if message.tool_calls else f"{path}.role"
        raise InvalidArgumentError("this model takes no tools", field=field)
    for number, call in enumerate(message.tool_calls):
        if not call.id or not call.name:
            missing = "name" if call.id else "id"
            raise InvalidArgumentError("is required", field=f"{path}.tool_calls[{number}].{missing}")
        _check_depth(call.arguments_json, f"{path}.tool_calls[{number}].arguments_json")
    if not message.content and not message.tool_calls and role is not Role.TOOL:
        raise InvalidArgumentError("is required", field=f"{path}.content")
    for number, part in enumerate(message.content):
        place = f"{path}.content[{number}]"
        if isinstance(part, ImagePart):
            if role is not Role.USER:
                raise InvalidArgumentError("belongs to ROLE_USER alone", field=f"{place}.image")
            if not capabilities.images:
                raise InvalidArgumentError("this model takes no images", field=f"{place}.image")
        elif not part.text.strip() and role is not Role.TOOL:
            raise InvalidArgumentError("is empty", field=f"{place}.text")


def check_length(
    messages: Sequence[Message], instructions: str | None, max_chars: int, instructions_field: str = "instructions"
) -> None:
    """Check that a request does not carry too much text.

    Raises:
        TextTooLongError: naming the text at which the limit is passed.
    """
    total = len(instructions or "")
    if total > max_chars:
        raise TextTooLongError(f"has {total} characters; {max_chars} are the most", field=instructions_field)
    for index, message in enumerate(messages):
        for number, part in enumerate(message.content):
            total += len(part.text) if isinstance(part, TextPart) else 0
            if total > max_chars:
                field = f"messages[{index}].content[{number}].text"
                raise TextTooLongError(f"makes more than {max_chars} characters in all", field=field)
        total += sum(len(call.arguments_json) for call in message.tool_calls)


def check_sampling(sampling: Sampling) -> None:
    """Check the ranges that hold for every model.

    Raises:
        InvalidArgumentError: naming the field.
    """
    most, least = sampling.max_output_tokens, sampling.min_output_tokens
    if most == 0:
        raise InvalidArgumentError("must be at least 1", field="sampling.max_output_tokens")
    if most is not None and least is not None and least > most:
        raise InvalidArgumentError("is more than max_output_tokens", field="sampling.min_output_tokens")
    for name, low, high in (
        ("temperature", 0.0, math.inf),
        ("top_p", 0.0, 1.0),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
    ):
        value = getattr(sampling, name)
        if value is not None and not (low <= value <= high and math.isfinite(value)):
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise InvalidArgumentError(f"{value:g} is not {limits}", field=f"sampling.{name}")
    if sampling.top_p == 0:
        raise InvalidArgumentError("must be above 0", field="sampling.top_p")
    if len(sampling.stop) > MAX_STOPS:
        raise InvalidArgumentError(f"has more than {MAX_STOPS} strings", field="sampling.stop")
    for index, stop in enumerate(sampling.stop):
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidArgumentError(f"must have 1 to {MAX_STOP_CHARS} characters", field=f"sampling.stop[{index}]")


def check_tools(tools: Sequence[Tool], capabilities: Capabilities, max_chars: int, field: str) -> None:
    """Check a list of tools.

    Raises:
        InvalidArgumentError: naming the field.
        TextTooLongError: naming the tool at which they become too long.
    """
    if tools and not capabilities.tools:
        raise InvalidArgumentError("this model takes no tools", field=field)
    total, names = 0, set[str]()
    for index, tool in enumerate(tools):
        total += len(tool.name) + len(tool.description) + len(tool.parameters_json_schema)
        if total > max_chars:
            raise TextTooLongError(f"makes more than {max_chars} characters in all", field=f"{field}[{index}]")
        if not _TOOL_NAME.fullmatch(tool.name) or tool.name in names:
            problem = "is there twice" if tool.name in names else "must be 1 to 64 letters, digits, dots, dashes or _"
            raise InvalidArgumentError(problem, field=f"{field}[{index}].name")
        names.add(tool.name)
        if tool.parameters_json_schema:
            place = f"{field}[{index}].parameters_json_schema"
            _check_depth(tool.parameters_json_schema, place)
            if not _is_json_object(tool.parameters_json_schema):
                raise InvalidArgumentError("is no JSON object", field=place)


def check_tool_choice(choice: ToolChoice | None, tools: Sequence[Tool] | None) -> None:
    """Check that a choice has something to choose from; `tools` is None where the conversation's are not known yet.

    Raises:
        InvalidArgumentError: naming the field.
    """
    if choice is None or tools is None or (choice.mode is ToolMode.NONE and not choice.tool_name):
        return
    if not tools:
        raise InvalidArgumentError("there are no tools to choose from", field="tool_choice")
    if choice.tool_name and choice.tool_name not in {tool.name for tool in tools}:
        raise InvalidArgumentError("there is no such tool", field="tool_choice.tool_name")


def check_id(conversation_id: str) -> None:
    """Check an id that a client gives a new conversation.

    Raises:
        InvalidArgumentError: naming the field.
    """
    wire.check_id(conversation_id, "conversation_id")


def check_item_ids(item_ids: Sequence[str]) -> None:
    """Check the names of what is to be deleted.

    Raises:
        InvalidArgumentError: naming the field.
    """
    if not item_ids:
        raise InvalidArgumentError("is required", field="item_ids")
    check_count(len(item_ids), MAX_MESSAGES, "items", "item_ids")
    for index, item_id in enumerate(item_ids):
        if not item_id:
            raise InvalidArgumentError("is empty", field=f"item_ids[{index}]")


def _check_item_id(item_id: str, field: str) -> None:
    if len(item_id) > MAX_ITEM_ID_CHARS:
        raise InvalidArgumentError(f"{len(item_id)} characters are more than {MAX_ITEM_ID_CHARS}", field=field)


def _check_depth(text: str, field: str) -> None:
    """Refuse JSON that nests so deeply that reading or writing it would end in Python's own limit."""
    depth = 0
    for bracket in _BRACKET.finditer(_JSON_STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise InvalidArgumentError(f"nests more than {MAX_JSON_DEPTH} levels deep", field=field)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json_calls.loads(text), dict)
    except ValueError:
        return False
