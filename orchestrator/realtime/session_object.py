"""The session object of the protocol, and the parameters of one response: what a client may send, field by field."""

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.convert import MAX_INSTRUCTIONS_CHARACTERS
from orchestrator.realtime.models import Many, Model


class Pcm(Model):
    """Linear 16-bit samples. OpenAI knows 24 kHz alone; any rate that `AudioFormat` allows works here."""

    type: Literal["audio/pcm"]
    rate: int = 24_000


class Pcmu(Model):
    """G.711 mu-law."""

    type: Literal["audio/pcmu"]
    rate: Literal[8000] = 8000


class Pcma(Model):
    """G.711 A-law."""

    type: Literal["audio/pcma"]
    rate: Literal[8000] = 8000


Format = Annotated[Pcm | Pcmu | Pcma, Field(discriminator="type")]


class ServerVad(Model):
    """The user's turn ends at a silence: of the server's choice by what was said, or of `silence_duration_ms`."""

    type: Literal["server_vad"]
    threshold: float | None = Field(default=None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=2000)
    silence_duration_ms: int | None = Field(default=None, ge=100, le=10_000)
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: None = None


class SemanticVad(Model):
    """As `ServerVad`, with the length of the silence by `eagerness`."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(Model):
    """Of the user's speech. Only `model` and `language` have a meaning here."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: str | None = None
    keywords: Many[str] | None = None
    languages: Many[str] | None = None


class AudioInput(Model):
    """What the client sends. `turn_detection` of null: the client ends the user's turns, and asks for responses."""

    format: Format = Pcm(type="audio/pcm")
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | None = ServerVad(
        type="server_vad"
    )
    transcription: Transcription | None = None
    noise_reduction: dict[str, Any] | None = None


class CustomVoice(Model):
    """A voice by its id."""

    id: str


class AudioOutput(Model):
    """What the client gets."""

    format: Format = Pcm(type="audio/pcm")
    voice: str | CustomVoice | None = None
    speed: float | None = Field(default=None, ge=1, le=1)


class Audio(Model):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(Model):
    """A function of the client's."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionChoice(Model):
    """This function must be called."""

    type: Literal["function"]
    name: str = Field(min_length=1)


Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTIONS_CHARACTERS)]
Choice = Literal["auto", "none", "required"] | FunctionChoice
Modalities = Annotated[list[Literal["audio", "text"]], Field(min_length=1, max_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=2**31 - 1)] | Literal["inf"]


class Session(Model):
    """The session as the client sees it. The fields of the last group are taken and have no effect."""

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    instructions: Instructions | None = None
    output_modalities: Modalities = Field(default=["audio"])
    audio: Audio = Audio()
    tools: Many[FunctionTool] = Field(default=[])
    tool_choice: Choice = "auto"
    max_output_tokens: MaxTokens | None = "inf"
    prompt: None = None

    tracing: Any = None
    truncation: Any = None
    include: Many[str] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None


class ResponseOutput(Model):
    """How a response sounds."""

    format: Format | None = None
    voice: str | CustomVoice | None = None


class ResponseAudio(Model):
    """How a response sounds."""

    output: ResponseOutput = ResponseOutput()


class ResponseParameters(Model):
    """What differs from the session for this response alone. The fields of the last group have no effect."""

    instructions: Instructions | None = None
    output_modalities: Modalities | None = None
    audio: ResponseAudio | None = None
    tools: Many[FunctionTool] | None = None
    tool_choice: Choice | None = None
    max_output_tokens: MaxTokens | None = None
    conversation: Literal["auto"] | None = None
    input: None = None
    prompt: None = None

    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
