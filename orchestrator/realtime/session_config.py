"""The session object of the protocol, and the configuration of a live session that it stands for."""

from typing import Annotated, Any, Literal

import orjson
from google.protobuf.duration_pb2 import Duration
from parley.common.v1 import audio_pb2, chat_pb2
from pydantic import Field

from orchestrator.convert import MAX_INSTRUCTIONS_CHARACTERS, check_tools
from orchestrator.domain import SessionConfig, TurnDetection
from orchestrator.realtime.models import BadEventError, Many, Model
from services.common.audio_format import AudioFormat, Encoding

_EAGERNESS_S = {"low": (0.6, 1.0, 2.4), "high": (0.2, 0.3, 0.8)}
"""Seconds of silence that end an utterance which sounds finished, one of which that is not sure, and one which sounds
unfinished; `medium` and `auto` are the server's own.
"""


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


def session_config(session: Session) -> SessionConfig:
    """The configuration that a session object stands for; names are the client's own.

    Raises:
        UnsupportedAudioError: naming the field.
    """
    audio = session.audio
    transcription = audio.input.transcription or Transcription()
    return SessionConfig(
        instructions=session.instructions,
        language_code=transcription.language or "",
        input_format=audio_format(audio.input.format, "session.audio.input.format"),
        output_format=audio_format(audio.output.format, "session.audio.output.format"),
        stt_model=transcription.model or "",
        llm_model=session.model or "",
        voice=voice_name(audio.output.voice),
        turn_detection=_turn_detection(audio.input.turn_detection),
        sampling=sampling(session.max_output_tokens),
        tools=tools(session.tools),
        tool_choice=tool_choice(session.tool_choice, session.tools),
        text_only=session.output_modalities == ["text"],
    )


def audio_format(wanted: Pcm | Pcmu | Pcma, field: str) -> AudioFormat:
    """The format that is meant, checked."""
    encodings = {Pcm: Encoding.PCM_S16LE, Pcmu: Encoding.MULAW, Pcma: Encoding.ALAW}
    plain = AudioFormat(encodings[type(wanted)], wanted.rate)
    plain.validate(field)
    return plain


def format_json(plain: AudioFormat) -> dict[str, Any]:
    """A format as the client is told."""
    if plain.encoding is Encoding.PCM_S16LE:
        return {"type": "audio/pcm", "rate": plain.sample_rate_hz}
    return {"type": "audio/pcmu" if plain.encoding is Encoding.MULAW else "audio/pcma"}


def voice_name(voice: str | CustomVoice | None) -> str:
    """The name that is meant; empty is the default."""
    return voice.id if isinstance(voice, CustomVoice) else voice or ""


def sampling(max_output_tokens: int | Literal["inf"] | None) -> chat_pb2.SamplingOptions | None:
    """The model's limits."""
    if isinstance(max_output_tokens, int):
        return chat_pb2.SamplingOptions(max_output_tokens=max_output_tokens)
    return None


def tools(functions: list[FunctionTool]) -> tuple[chat_pb2.Tool, ...]:
    """Functions as the model knows them.

    Raises:
        InvalidArgumentError, TextTooLongError: there are too many, or what they say is too long.
    """
    known = tuple(
        chat_pb2.Tool(
            name=function.name,
            description=function.description or "",
            parameters_json_schema=orjson.dumps(function.parameters or {"type": "object", "properties": {}}).decode(),
        )
        for function in functions
    )
    check_tools(known)
    return known


def tool_choice(choice: Choice | None, functions: list[FunctionTool]) -> chat_pb2.ToolChoice | None:
    """How free the model is to call them; None where there are none.

    Raises:
        BadEventError: a function must be called, and there is no such function.
    """
    if isinstance(choice, FunctionChoice):
        if all(function.name != choice.name for function in functions):
            raise BadEventError(f"no such function: {choice.name[:80]!r}", field="session.tool_choice")
        return chat_pb2.ToolChoice(tool_name=choice.name)
    if not functions or choice is None:
        return None
    modes = {
        "auto": chat_pb2.ToolChoice.MODE_AUTO,
        "none": chat_pb2.ToolChoice.MODE_NONE,
        "required": chat_pb2.ToolChoice.MODE_REQUIRED,
    }
    return chat_pb2.ToolChoice(mode=modes[choice])


def _turn_detection(wanted: ServerVad | SemanticVad | None) -> TurnDetection:
    if wanted is None:
        return TurnDetection(manual=True, create_response=False)
    endpointing = audio_pb2.EndpointingConfig()
    if isinstance(wanted, ServerVad):
        if wanted.threshold is not None:
            endpointing.speech_threshold = wanted.threshold
        if wanted.prefix_padding_ms is not None:
            endpointing.prefix_padding.CopyFrom(_milliseconds(wanted.prefix_padding_ms))
        if wanted.silence_duration_ms is not None:
            endpointing.end_silence.CopyFrom(_milliseconds(wanted.silence_duration_ms))
    elif wanted.eagerness in _EAGERNESS_S:
        finished_s, unsure_s, unfinished_s = _EAGERNESS_S[wanted.eagerness]
        endpointing.min_end_silence.CopyFrom(_milliseconds(round(finished_s * 1000)))
        endpointing.end_silence.CopyFrom(_milliseconds(round(unsure_s * 1000)))
        endpointing.max_end_silence.CopyFrom(_milliseconds(round(unfinished_s * 1000)))
    return TurnDetection(
        endpointing=endpointing if endpointing.ListFields() else None,
        create_response=wanted.create_response,
        interrupt_response=wanted.interrupt_response,
    )


def _milliseconds(count: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(count)
    return duration


def session_json(session: Session, session_id: str) -> dict[str, Any]:
    """The session object as the client is told."""
    told = session.model_dump(mode="json", exclude_none=True, exclude={"audio"})
    transcription, detection = session.audio.input.transcription, session.audio.input.turn_detection
    told["audio"] = {
        "input": {
            "format": format_json(audio_format(session.audio.input.format, "")),
            "transcription": None if transcription is None else transcription.model_dump(exclude_none=True),
            "noise_reduction": session.audio.input.noise_reduction,
            "turn_detection": None if detection is None else detection.model_dump(exclude_none=True),
        },
        "output": {
            "format": format_json(audio_format(session.audio.output.format, "")),
            "voice": voice_name(session.audio.output.voice) or None,
            "speed": 1.0,
        },
    }
    return {"object": "realtime.session", "id": session_id, "tracing": None, "truncation": "auto", **told}


def response_config(wanted: ResponseParameters, session: Session) -> SessionConfig:
    """The configuration of one response: the session's, but for what the response's parameters set.

    Raises:
        ParleyError: naming the field.
    """
    output = wanted.audio.output if wanted.audio is not None else ResponseOutput()
    changes: dict[str, Any] = {
        name: getattr(wanted, name)
        for name in ("instructions", "output_modalities", "tools", "tool_choice", "max_output_tokens")
        if getattr(wanted, name) is not None
    }
    changes["audio"] = session.audio.model_copy(
        update={
            "output": session.audio.output.model_copy(
                update={name: value for name, value in dict(output).items() if value is not None}
            )
        }
    )
    return session_config(session.model_copy(update=changes))
