"""Any OpenAI-compatible `/chat/completions`.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from services.llm.backends.api.backend import ApiBackend
from services.llm.backends.api.chat_reader import ChatReader
from services.llm.backends.api.reader import AnswerReader
from services.llm.backends.api.tool_ids import ToolIds, as_given
from services.llm.backends.api.tools import parameters_schema
from services.llm.domain import GenerationRequest, ImagePart, Message, Role, Tool, ToolChoice
from services.llm.tools.calls import outputs_after_calls

_MOST_STOPS = 4
"""As many stop strings as OpenAI takes; further ones are looked for here alone."""


class ChatCompletionsBackend(ApiBackend):
    """Speaks the older of OpenAI's two APIs, which nearly every server knows."""

    name = "chat-completions"
    path = "/chat/completions"
    parameters: ClassVar[Mapping[str, str]] = {
        name: name for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
    }

    def _parameter_names(self) -> Mapping[str, str]:
        # OpenAI's reasoning models refuse the old name; other servers may not know the new one.
        limit = "max_completion_tokens" if self._provider.is_openai else "max_tokens"
        return {**self.parameters, "max_output_tokens": limit}

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        messages = as_given(outputs_after_calls(request.messages))
        body: dict[str, Any] = {"messages": [self._message(message) for message in messages]}
        if self._stream:
            body["stream_options"] = {"include_usage": True}
        if request.sampling.stop:
            body["stop"] = list(request.sampling.stop[:_MOST_STOPS])
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
            if request.tool_choice is not None:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        return body

    def _effort_parameter(self, effort: str) -> dict[str, Any]:
        return {"reasoning_effort": effort}

    def _reader(self, ids: ToolIds, body: Mapping[str, Any]) -> AnswerReader:
        return ChatReader(ids)

    def _message(self, message: Message) -> dict[str, Any]:
        wired: dict[str, Any] = {"role": self._names.of(message.role), "content": _content(message)}
        if message.role is Role.TOOL:
            wired["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            wired["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
                for call in message.tool_calls
            ]
        return wired


def _content(message: Message) -> Any:
    """Text; parts where there are images; null for a message of calls alone, since some servers refuse empty text."""
    if any(isinstance(part, ImagePart) for part in message.content):
        return [
            {"type": "image_url", "image_url": {"url": part.data_url if part.data else part.url}}
            if isinstance(part, ImagePart)
            else {"type": "text", "text": part.text}
            for part in message.content
        ]
    return message.text or (None if message.tool_calls else "")


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters_schema(tool)}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.tool_name}} if choice.tool_name else choice.mode.value
