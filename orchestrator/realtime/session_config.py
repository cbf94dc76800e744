"""What a session object of the protocol stands for: the configuration of a live session; and how the client is told."""

from typing import Any, Literal

import orjson
from parley.common.v1 import audio_pb2, chat_pb2

from orchestrator.convert import check_tools
from orchestrator.domain import SessionConfig, TurnDetection
from orchestrator.realtime.models import BadEventError
from orchestrator.realtime.session_object import (
    Choice,
    CustomVoice,
    FunctionChoice,
    FunctionTool,
    Pcm,
    Pcma,
    Pcmu,
    ResponseOutput,
    ResponseParameters,
    SemanticVad,
    ServerVad,
    Session,
    Transcription,
)
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import duration

_EAGERNESS_S = {"low": (0.6, 1.0, 2.4), "high": (0.2, 0.3, 0.8)}
"""Seconds of silence that end an utterance which sounds finished, one of which that is not sure, and one which sounds
unfinished; `medium` and `auto` are the server's own.
"""


def session_config(session: Session) -> SessionConfig:
    """The configuration that a session object stands for; names are the client's own.

    Raises:
        ParleyError: naming the field.
    """
    audio = session.audio
    transcription = audio.input.transcription or Transcription()
    return SessionConfig(
        instructions=session.instructions,
        language_code=transcription.language or "",
        input_format=_audio_format(audio.input.format, "session.audio.input.format"),
        output_format=_audio_format(audio.output.format, "session.audio.output.format"),
        stt_model=transcription.model or "",
        llm_model=session.model or "",
        voice=_voice_name(audio.output.voice),
        turn_detection=_turn_detection(audio.input.turn_detection),
        sampling=_sampling(session.max_output_tokens),
        tools=_tools(session.tools),
        tool_choice=_tool_choice(session.tool_choice, session.tools),
        text_only=session.output_modalities == ["text"],
    )


def _audio_format(wanted: Pcm | Pcmu | Pcma, field: str) -> AudioFormat:
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


def _voice_name(voice: str | CustomVoice | None) -> str:
    """The name that is meant; empty is the default."""
    return voice.id if isinstance(voice, CustomVoice) else voice or ""


def _sampling(max_output_tokens: int | Literal["inf"] | None) -> chat_pb2.SamplingOptions | None:
    """The model's limits."""
    if isinstance(max_output_tokens, int):
        return chat_pb2.SamplingOptions(max_output_tokens=max_output_tokens)
    return None


def _tools(functions: list[FunctionTool]) -> tuple[chat_pb2.Tool, ...]:
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


def _tool_choice(choice: Choice | None, functions: list[FunctionTool]) -> chat_pb2.ToolChoice | None:
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
            endpointing.prefix_padding.CopyFrom(duration(wanted.prefix_padding_ms / 1000))
        if wanted.silence_duration_ms is not None:
            endpointing.end_silence.CopyFrom(duration(wanted.silence_duration_ms / 1000))
    elif wanted.eagerness in _EAGERNESS_S:
        finished_s, unsure_s, unfinished_s = _EAGERNESS_S[wanted.eagerness]
        endpointing.min_end_silence.CopyFrom(duration(finished_s))
        endpointing.end_silence.CopyFrom(duration(unsure_s))
        endpointing.max_end_silence.CopyFrom(duration(unfinished_s))
    return TurnDetection(
        endpointing=endpointing if endpointing.ListFields() else None,
        create_response=wanted.create_response,
        interrupt_response=wanted.interrupt_response,
    )


def session_json(session: Session, session_id: str) -> dict[str, Any]:
    """The session object as the client is told."""
    told = session.model_dump(mode="json", exclude_none=True, exclude={"audio"})
    transcription, detection = session.audio.input.transcription, session.audio.input.turn_detection
    told["audio"] = {
        "input": {
            "format": format_json(_audio_format(session.audio.input.format, "")),
            "transcription": None if transcription is None else transcription.model_dump(exclude_none=True),
            "noise_reduction": session.audio.input.noise_reduction,
            "turn_detection": None if detection is None else detection.model_dump(exclude_none=True),
        },
        "output": {
            "format": format_json(_audio_format(session.audio.output.format, "")),
            "voice": _voice_name(session.audio.output.voice) or None,
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
