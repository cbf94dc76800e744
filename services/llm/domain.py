"""What the service talks about: messages, what a turn asks for, what a backend answers. Plain data, no I/O."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias


class Role(Enum):
    """Who wrote a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True)
class TextPart:
    """Text of a message."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """A picture: encoded bytes, or the URL where they are. What a backend gets is always bytes with a media type."""

    data: bytes = field(default=b"", repr=False)
    url: str = ""
    media_type: str = ""

    @property
    def data_url(self) -> str:
        """The bytes as a `data:` URL (RFC 2397), in which the APIs take them."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


ContentPart: TypeAlias = TextPart | ImagePart


@dataclass(frozen=True)
class ToolCall:
    """One complete call of a tool; the arguments are JSON text."""

    id: str
    name: str
    arguments_json: str


@dataclass(frozen=True)
class Message:
    """One entry of a conversation; `id` is set once it is stored, `item_id` is what its sender calls it."""

    role: Role
    content: tuple[ContentPart, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    id: str = ""
    item_id: str = ""

    @property
    def text(self) -> str:
        """All its text; several parts are lines of their own."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))


@dataclass(frozen=True)
class Tool:
    """A function that the model may call; the parameters are a JSON Schema, as JSON text."""

    name: str
    description: str
    parameters_json_schema: str


class ToolMode(Enum):
    """How free the model is to call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True)
class ToolChoice:
    """A mode, or the one tool that must be called."""

    mode: ToolMode = ToolMode.AUTO
    tool_name: str = ""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; None means the server's default."""

    max_output_tokens: int | None = None
    min_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class GenerationRequest:
    """What a backend is asked for: the whole context, oldest message first, and how to go on from it."""

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of one backend alone, by name."""
    session: str = ""
    """Whose it is, for a fair turn: a conversation's id, or empty."""


@dataclass(frozen=True)
class TurnRequest:
    """What a client asks for: a turn of a conversation, or a stateless one where `conversation_id` is empty.

    None means the conversation's or the server's default.
    """

    messages: tuple[Message, ...]
    conversation_id: str = ""
    instructions: str | None = None
    model: str = ""
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] | None = None
    tool_choice: ToolChoice | None = None
    language_code: str = ""
    held: bool = False
    speech_segments: bool = False
    segment_sentences: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    answer_item_id: str = ""


class FinishReason(Enum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True)
class Usage:
    """Tokens of a turn; None where the backend does not report them."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """New text of the answer, verbatim."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """New thinking text: never spoken, never in the history."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEvent:
    """A complete tool call."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model has begun to write a call: the text before it is whole, and may be spoken while it writes on."""


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """A tool call that cannot be made: it names no tool that there is, or its arguments are no JSON object.

    Attributes:
        id: unique, as that of a call; it takes no output.
        name: the tool that it names, "" where that cannot be read.
        arguments_text: what was generated in place of the arguments.
        error: what is wrong, for a person.
    """

    id: str
    name: str
    arguments_text: str
    error: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a backend's answer."""

    reason: FinishReason
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A backend that lets requests in by what they take has let this one in, after so many seconds of waiting."""

    waited_s: float


BackendEvent: TypeAlias = (
    Admitted | TextDelta | ReasoningDelta | ToolCallStarted | ToolCallEvent | InvalidToolCall | Finished
)
"""What a backend yields: any number of deltas and calls, then one `Finished`."""


@dataclass(frozen=True, slots=True)
class Started:
    """The turn was admitted; the ids by which it is known from now on."""

    response_id: str
    model: str
    backend: str


@dataclass(frozen=True, slots=True)
class SpeechSegment:
    """Text ready for a TTS: no markdown, nothing unspeakable."""

    index: int
    text: str
    sentence_count: int


@dataclass(frozen=True)
class Timings:
    """Seconds since the request arrived (`queue_s`: seconds of waiting for a place); None for what never came."""

    queue_s: float = 0.0
    first_token_s: float | None = None
    first_segment_s: float | None = None
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Completed:
    """The last event of a turn that went well."""

    reason: FinishReason
    usage: Usage | None
    timings: Timings


TurnOutput: TypeAlias = TextDelta | ReasoningDelta | SpeechSegment | ToolCallEvent | InvalidToolCall
TurnEvent: TypeAlias = Started | TurnOutput | Completed
"""What a client receives: `Started`, deltas and segments and calls as they come, then `Completed`."""
