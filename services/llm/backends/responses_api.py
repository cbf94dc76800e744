"""Any OpenAI-compatible `/responses`, used without state at the provider.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from services.llm.backends.api.backend import ApiBackend
from services.llm.backends.api.reader import AnswerReader
from services.llm.backends.api.responses_reader import ResponsesReader
from services.llm.backends.api.tool_ids import ToolIds, as_given
from services.llm.backends.api.tools import parameters_schema
from services.llm.domain import GenerationRequest, ImagePart, Message, Role, Tool, ToolChoice


class ResponsesApiBackend(ApiBackend):
    """Speaks the newer of OpenAI's two APIs."""

    name = "responses-api"
    path = "/responses"
    parameters: ClassVar[Mapping[str, str]] = {name: name for name in ("max_output_tokens", "temperature", "top_p")}

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        # Instructions are an item with the role that the flags say: some servers drop it where `instructions` is given.
        body: dict[str, Any] = {
            "input": [item for message in as_given(request.messages) for item in self._items(message)]
        }
        if self._provider.is_openai:
            body["store"] = False
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            if request.tool_choice is not None:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        return body

    def _effort_parameter(self, effort: str) -> dict[str, Any]:
        return {"reasoning": {"effort": effort}}

    def _reader(self, ids: ToolIds, body: Mapping[str, Any]) -> AnswerReader:
        return ResponsesReader(ids, body.get("max_output_tokens"))

    def _items(self, message: Message) -> Iterator[dict[str, Any]]:
        """A message as items: calls and their outputs are items of their own."""
        if message.role is Role.TOOL:
            yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.text}
            return
        if message.content:
            # llama.cpp refuses an assistant's item without a type.
            yield {"type": "message", "role": self._names.of(message.role), "content": _content(message)}
        for call in message.tool_calls:
            yield {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments_json,
            }


def _content(message: Message) -> Any:
    if any(isinstance(part, ImagePart) for part in message.content):
        return [
            {"type": "input_image", "image_url": part.data_url if part.data else part.url}
            if isinstance(part, ImagePart)
            else {"type": "input_text", "text": part.text}
            for part in message.content
        ]
    if message.role is Role.ASSISTANT:
        return [{"type": "output_text", "text": message.text}]
    return message.text


def _tool(tool: Tool) -> dict[str, Any]:
    # `strict` is on by default here, and would refuse schemas that leave a property optional.
    wired: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": parameters_schema(tool),
        "strict": False,
    }
    if tool.description:
        wired["description"] = tool.description
    return wired


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "name": choice.tool_name} if choice.tool_name else choice.mode.value
