"""Between the contract's messages and plain data. Checks only what plain data cannot express, and how much there is: in
eight million bytes there are two million messages, and to make plain data of them takes ten seconds, in which nobody
else is served.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, llm_service_pb2

from services.common import wire
from services.common.errors import InvalidArgumentError
from services.llm.backends.base import Capabilities
from services.llm.checks import (
    MAX_CHAT_SIZE,
    MAX_MESSAGES,
    MAX_OPTIONS_BYTES,
    MAX_PARTS,
    MAX_TOOLS,
    check_count,
)
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.domain import (
    Completed,
    ContentPart,
    FinishReason,
    ImagePart,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    SpeechSegment,
    Started,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    TurnEvent,
    TurnRequest,
    Usage,
)

_ROLES = {
    chat_pb2.ROLE_SYSTEM: Role.SYSTEM,
    chat_pb2.ROLE_USER: Role.USER,
    chat_pb2.ROLE_ASSISTANT: Role.ASSISTANT,
    chat_pb2.ROLE_TOOL: Role.TOOL,
}
_ROLE_VALUES = {role: value for value, role in _ROLES.items()}
_MODES = {
    chat_pb2.ToolChoice.MODE_UNSPECIFIED: ToolMode.AUTO,
    chat_pb2.ToolChoice.MODE_AUTO: ToolMode.AUTO,
    chat_pb2.ToolChoice.MODE_NONE: ToolMode.NONE,
    chat_pb2.ToolChoice.MODE_REQUIRED: ToolMode.REQUIRED,
}
_FINISH_REASONS = {
    FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: chat_pb2.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
}
_EXACT = 2.0**53
"""Up to here a float tells whole numbers apart."""
_POLICIES = {
    llm_service_pb2.COMMIT_POLICY_UNSPECIFIED: False,
    llm_service_pb2.COMMIT_POLICY_ON_COMPLETION: False,
    llm_service_pb2.COMMIT_POLICY_HELD: True,
}


def turn_request(request: llm_service_pb2.GenerateRequest) -> TurnRequest:
    """What a client asks for.

    Raises:
        InvalidArgumentError: naming the field.
    """
    held = _POLICIES.get(request.commit_policy)
    if held is None:
        raise InvalidArgumentError("is no CommitPolicy", field="commit_policy")
    return TurnRequest(
        messages(request.messages),
        request.conversation_id,
        request.instructions if request.HasField("instructions") else None,
        request.model,
        _sampling(request.sampling),
        tool_set(request.tools) if request.HasField("tools") else None,
        _tool_choice(request.tool_choice) if request.HasField("tool_choice") else None,
        request.language_code,
        held,
        request.enable_speech_segments,
        request.segment_sentences if request.HasField("segment_sentences") else None,
        _options(request.backend_options),
        request.answer_item_id,
    )


def messages(wired: Sequence[chat_pb2.Message], field: str = "messages") -> tuple[Message, ...]:
    """Messages from the wire; ids that a client sets are not kept.

    Raises:
        InvalidArgumentError: naming the field.
    """
    check_count(len(wired), MAX_MESSAGES, "messages", field)
    parts = sum(len(message.content) + len(message.tool_calls) for message in wired)
    check_count(parts, MAX_PARTS, "parts and tool calls", field)
    return tuple(_message(message, f"{field}[{index}]") for index, message in enumerate(wired))


def conversation_config(config: conversation_service_pb2.ConversationConfig) -> ConversationConfig:
    """A conversation's configuration.

    Raises:
        InvalidArgumentError: naming the field.
    """
    if config.chat_size > MAX_CHAT_SIZE:
        raise InvalidArgumentError(f"is more than {MAX_CHAT_SIZE}", field="config.chat_size")
    return ConversationConfig(
        config.instructions if config.HasField("instructions") else None,
        tool_set(config.tools, "config.tools") if config.HasField("tools") else None,
        config.chat_size if config.HasField("chat_size") else None,
        config.compact_history if config.HasField("compact_history") else None,
    )


def event_message(event: TurnEvent, language_code: str) -> llm_service_pb2.GenerateResponse:
    """An event for the wire; segments carry the language of the turn."""
    response = llm_service_pb2.GenerateResponse
    if isinstance(event, TextDelta):
        return response(text_delta=llm_service_pb2.TextDelta(text=event.text))
    if isinstance(event, SpeechSegment):
        segment = llm_service_pb2.SpeechSegment(
            index=event.index, text=event.text, sentence_count=event.sentence_count, language_code=language_code
        )
        return response(speech_segment=segment)
    if isinstance(event, ReasoningDelta):
        return response(reasoning_delta=llm_service_pb2.ReasoningDelta(text=event.text))
    if isinstance(event, Started):
        started = llm_service_pb2.GenerationStarted(
            response_id=event.response_id, model=event.model, backend=event.backend
        )
        return response(started=started)
    if isinstance(event, Completed):
        return response(completed=_completed(event))
    if isinstance(event, InvalidToolCall):
        error = llm_service_pb2.ToolCallError(
            id=event.id, name=event.name, arguments_text=event.arguments_text, error=event.error
        )
        return response(tool_call_error=error)
    return response(tool_call=_call_message(event.call))


def message_message(message: Message) -> chat_pb2.Message:
    """A message for the wire."""
    return chat_pb2.Message(
        id=message.id,
        role=_ROLE_VALUES[message.role],
        content=[_part_message(part) for part in message.content],
        tool_calls=[_call_message(call) for call in message.tool_calls],
        tool_call_id=message.tool_call_id,
        item_id=message.item_id,
    )


def conversation_message(conversation: Conversation, ttl_s: float) -> conversation_service_pb2.Conversation:
    """A conversation for the wire; reading it has put its expiry off by `ttl_s` seconds."""
    config = conversation.config
    tools = (
        None if config.tools is None else llm_service_pb2.ToolSet(tools=[_tool_message(tool) for tool in config.tools])
    )
    created, expires = Timestamp(), Timestamp()
    created.FromDatetime(datetime.fromtimestamp(conversation.created_at, UTC))
    expires.FromDatetime(datetime.now(UTC) + timedelta(seconds=ttl_s))
    return conversation_service_pb2.Conversation(
        id=conversation.id,
        config=conversation_service_pb2.ConversationConfig(
            instructions=config.instructions,
            tools=tools,
            chat_size=config.chat_size,
            compact_history=config.compact_history,
        ),
        messages=[message_message(message) for message in conversation.messages],
        pending_tool_call_ids=conversation.pending_tool_call_ids,
        create_time=created,
        expire_time=expires,
        summary=conversation.summary,
    )


def model_message(capabilities: Capabilities) -> llm_service_pb2.Model:
    """A model for the wire."""
    return llm_service_pb2.Model(
        name=capabilities.model,
        backend=capabilities.backend,
        context_length_tokens=capabilities.context_length_tokens,
        supports_tools=capabilities.tools,
        supports_images=capabilities.images,
        supports_prefill=capabilities.prefill,
    )


def _message(message: chat_pb2.Message, path: str) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidArgumentError("is required: one of the Role values", field=f"{path}.role")
    return Message(
        role,
        tuple(_part(part, f"{path}.content[{number}]") for number, part in enumerate(message.content)),
        tuple(ToolCall(call.id, call.name, call.arguments_json) for call in message.tool_calls),
        message.tool_call_id,
        item_id=message.item_id,
    )


def _part(part: chat_pb2.ContentPart, path: str) -> ContentPart:
    kind = part.WhichOneof("part")
    if kind == "text":
        return TextPart(part.text)
    if kind == "image":
        if part.image.WhichOneof("source") is None:
            raise InvalidArgumentError("needs data or a url", field=f"{path}.image")
        return ImagePart(part.image.data, part.image.url)
    raise InvalidArgumentError("needs text or an image", field=path)


def _sampling(options: chat_pb2.SamplingOptions) -> Sampling:
    def given(name: str) -> Any:
        return getattr(options, name) if options.HasField(name) else None  # type: ignore[arg-type]

    return Sampling(
        given("max_output_tokens"),
        given("min_output_tokens"),
        given("temperature"),
        given("top_p"),
        given("top_k"),
        given("frequency_penalty"),
        given("presence_penalty"),
        given("seed"),
        tuple(options.stop),
    )


def tool_set(tools: llm_service_pb2.ToolSet, field: str = "tools") -> tuple[Tool, ...]:
    """The tools of a set.

    Raises:
        InvalidArgumentError: there are too many.
    """
    check_count(len(tools.tools), MAX_TOOLS, "tools", f"{field}.tools")
    return tuple(Tool(tool.name, tool.description, tool.parameters_json_schema) for tool in tools.tools)


def _tool_choice(choice: chat_pb2.ToolChoice) -> ToolChoice:
    if choice.WhichOneof("choice") == "tool_name":
        return ToolChoice(ToolMode.REQUIRED, choice.tool_name)
    mode = _MODES.get(choice.mode)
    if mode is None:
        raise InvalidArgumentError("is no ToolChoice.Mode", field="tool_choice.mode")
    return ToolChoice(mode)


def _options(options: struct_pb2.Struct) -> dict[str, Any]:
    """Options by name; a Struct knows floats alone, so that whole ones count as integers."""
    check_count(options.ByteSize(), MAX_OPTIONS_BYTES, "bytes", "backend_options")
    try:
        given = json_format.MessageToDict(options)
    except ValueError:
        raise InvalidArgumentError("holds a number that JSON does not have", field="backend_options") from None
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def _completed(event: Completed) -> llm_service_pb2.GenerationCompleted:
    timings = event.timings
    message = chat_pb2.GenerationTimings(queue=wire.duration(timings.queue_s), total=wire.duration(timings.total_s))
    if timings.first_token_s is not None:
        message.time_to_first_token.CopyFrom(wire.duration(timings.first_token_s))
    if timings.first_segment_s is not None:
        message.time_to_first_segment.CopyFrom(wire.duration(timings.first_segment_s))
    return llm_service_pb2.GenerationCompleted(
        finish_reason=_FINISH_REASONS[event.reason],
        usage=None if event.usage is None else _usage_message(event.usage),
        timings=message,
    )


def _usage_message(usage: Usage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_output_tokens=usage.reasoning_output_tokens,
    )


def _part_message(part: ContentPart) -> chat_pb2.ContentPart:
    if isinstance(part, TextPart):
        return chat_pb2.ContentPart(text=part.text)
    image = chat_pb2.Image(url=part.url) if part.url else chat_pb2.Image(data=part.data)
    return chat_pb2.ContentPart(image=image)


def _call_message(call: ToolCall) -> chat_pb2.ToolCall:
    return chat_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)


def _tool_message(tool: Tool) -> chat_pb2.Tool:
    return chat_pb2.Tool(
        name=tool.name, description=tool.description, parameters_json_schema=tool.parameters_json_schema
    )
