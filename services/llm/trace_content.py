"""Messages as traces hold them, where `--trace_content` lets them: the JSON of OpenTelemetry's GenAI conventions."""

import json
from collections.abc import Sequence
from typing import Any

from services.llm.domain import Message, Role, TextPart


def as_json(messages: Sequence[Message]) -> str:
    """`gen_ai.input.messages` or `gen_ai.output.messages`; of an image, only that there is one."""
    return json.dumps(
        [{"role": message.role.value, "parts": _parts(message)} for message in messages], ensure_ascii=False
    )


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.role is Role.TOOL:
        return [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}]
    content = [
        {"type": "text", "content": part.text} if isinstance(part, TextPart) else {"type": "image"}
        for part in message.content
    ]
    calls = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments_json}
        for call in message.tool_calls
    ]
    return content + calls
