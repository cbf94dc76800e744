"""Between the contract of VoiceAgentService and the orchestrator's plain data."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2, error_reason_pb2

from orchestrator import domain
from orchestrator.single import SingleTurn
from services.common.errors import InvalidArgumentError, TextTooLongError
from services.common.wire import audio_format, audio_format_message, check_id, duration

_STATUSES = {
    domain.ResponseStatus.COMPLETED: pb.RESPONSE_STATUS_COMPLETED,
    domain.ResponseStatus.CANCELLED: pb.RESPONSE_STATUS_CANCELLED,
    domain.ResponseStatus.INCOMPLETE: pb.RESPONSE_STATUS_INCOMPLETE,
    domain.ResponseStatus.FAILED: pb.RESPONSE_STATUS_FAILED,
}
MAX_INSTRUCTIONS_CHARACTERS = 32_000
MAX_TOOLS, MAX_TOOLS_BYTES = 128, 256 << 10
MAX_HISTORY = 1000


def merge_config(config: domain.SessionConfig, update: pb.SessionConfig) -> domain.SessionConfig:
    """The configuration after an update: absent fields keep their values.

    Raises:
        InvalidArgumentError: naming the field below `session` at fault.
    """
    changes: dict[str, object] = {
        name: getattr(update, name)
        for name in ("instructions", "language_code", "stt_model", "llm_model", "voice")
        if update.HasField(name)
    }
    if len(update.instructions) > MAX_INSTRUCTIONS_CHARACTERS:
        message = f"{len(update.instructions)} characters, {MAX_INSTRUCTIONS_CHARACTERS} at most"
        raise InvalidArgumentError(message, field="session.instructions")
    if update.HasField("input_audio_format"):
        changes["input_format"] = audio_format(update.input_audio_format, "session.input_audio_format")
    if update.HasField("output_audio_format"):
        changes["output_format"] = audio_format(update.output_audio_format, "session.output_audio_format")
    if update.HasField("turn_detection"):
        changes["turn_detection"] = _merge_turn_detection(config.turn_detection, update.turn_detection)
    if update.HasField("sampling"):
        changes["sampling"] = update.sampling
    if update.tools:
        check_tools(update.tools)
        changes["tools"] = tuple(update.tools)
    if update.HasField("tool_choice"):
        changes["tool_choice"] = update.tool_choice
    if update.output_modality not in pb.OutputModality.values():
        raise InvalidArgumentError(f"{update.output_modality} is unknown", field="session.output_modality")
    if update.output_modality != pb.OUTPUT_MODALITY_UNSPECIFIED:
        changes["text_only"] = update.output_modality == pb.OUTPUT_MODALITY_TEXT
    return replace(config, **changes)  # type: ignore[arg-type]


def check_tools(tools: Collection[chat_pb2.Tool]) -> None:
    """Refuse more tools than a session may keep.

    Raises:
        InvalidArgumentError, TextTooLongError: there are too many, or what they say is too long.
    """
    if len(tools) > MAX_TOOLS:
        raise InvalidArgumentError(f"{len(tools)} tools are more than {MAX_TOOLS}", field="session.tools")
    if (size := sum(tool.ByteSize() for tool in tools)) > MAX_TOOLS_BYTES:
        raise TextTooLongError(f"have {size} bytes in all; {MAX_TOOLS_BYTES} are the most", field="session.tools")


def respond_request(request: pb.RespondRequest) -> SingleTurn:
    """The input of a single turn.

    Raises:
        InvalidArgumentError: naming the field at fault.
    """
    config = merge_config(domain.SessionConfig(), request.session)
    check_id(request.session.conversation_id, "session.conversation_id")
    if request.history and request.session.conversation_id:
        raise InvalidArgumentError("not together with session.conversation_id", field="history")
    if len(request.history) > MAX_HISTORY:
        raise InvalidArgumentError(f"{len(request.history)} messages are more than {MAX_HISTORY}", field="history")
    kind = request.WhichOneof("input")
    if kind is None:
        raise InvalidArgumentError("audio or text must be set", field="input")
    if kind == "text" and not request.text.strip():
        raise InvalidArgumentError("is empty", field="text")
    if kind == "audio" and not request.audio:
        raise InvalidArgumentError("is empty", field="audio")
    audio = request.audio if kind == "audio" else None
    return SingleTurn(config, request.session.conversation_id, tuple(request.history), audio, request.text)


def _merge_turn_detection(old: domain.TurnDetection, update: pb.TurnDetection) -> domain.TurnDetection:
    changes: dict[str, object] = {}
    if update.mode not in pb.TurnDetection.Mode.values():
        raise InvalidArgumentError(f"{update.mode} is unknown", field="session.turn_detection.mode")
    if update.mode != pb.TurnDetection.MODE_UNSPECIFIED:
        changes["manual"] = update.mode == pb.TurnDetection.MODE_MANUAL
    if update.HasField("endpointing"):
        changes["endpointing"] = update.endpointing
    if update.HasField("interrupt_response"):
        changes["interrupt_response"] = update.interrupt_response
    if update.HasField("create_response"):
        changes["create_response"] = update.create_response
    if update.HasField("echo_guard"):
        changes["echo_guard"] = update.echo_guard
    return replace(old, **changes)  # type: ignore[arg-type]


def config_message(config: domain.SessionConfig) -> pb.SessionConfig:
    """The configuration in force, as the client is told."""
    detection = config.turn_detection
    return pb.SessionConfig(
        instructions=config.instructions,
        language_code=config.language_code,
        input_audio_format=audio_format_message(config.input_format),
        output_audio_format=audio_format_message(config.output_format),
        stt_model=config.stt_model,
        llm_model=config.llm_model,
        voice=config.voice,
        turn_detection=pb.TurnDetection(
            mode=pb.TurnDetection.MODE_MANUAL if detection.manual else pb.TurnDetection.MODE_SERVER_VAD,
            endpointing=detection.endpointing,
            interrupt_response=detection.interrupt_response,
            create_response=detection.create_response,
            echo_guard=detection.echo_guard,
        ),
        sampling=config.sampling,
        tools=config.tools,
        tool_choice=config.tool_choice,
        output_modality=pb.OUTPUT_MODALITY_TEXT if config.text_only else pb.OUTPUT_MODALITY_AUDIO,
    )


def converse_response(event: domain.ServerEvent, event_id: str) -> pb.ConverseResponse:
    """A server event of a live session."""
    field, build = _EVENTS[type(event)]
    return pb.ConverseResponse(event_id=event_id, **{field: build(event)})


def respond_response(event: domain.ServerEvent) -> pb.RespondResponse:
    """A server event of a single turn; its names are those of a live session."""
    field, build = _EVENTS[type(event)]
    return pb.RespondResponse(**{field: build(event)})


def _session_created(event: domain.SessionCreated) -> pb.SessionCreated:
    return pb.SessionCreated(
        session_id=event.session_id, conversation_id=event.conversation_id, session=config_message(event.config)
    )


def _session_updated(event: domain.SessionUpdated) -> pb.SessionUpdated:
    return pb.SessionUpdated(session=config_message(event.config))


def _speech_started(event: domain.SpeechStarted) -> pb.InputAudioBufferSpeechStarted:
    return pb.InputAudioBufferSpeechStarted(item_id=event.item_id, audio_start=duration(event.start_s))


def _speech_stopped(event: domain.SpeechStopped) -> pb.InputAudioBufferSpeechStopped:
    return pb.InputAudioBufferSpeechStopped(
        item_id=event.item_id, audio_end=duration(event.end_s), turn_end_probability=event.turn_end_probability
    )


def _audio_delta(event: domain.AudioDelta) -> pb.ResponseOutputAudioDelta:
    return pb.ResponseOutputAudioDelta(
        response_id=event.response_id, item_id=event.item_id, audio=event.audio, offset=duration(event.offset_s)
    )


def _text_delta(event: domain.TextDelta) -> pb.ResponseOutputTextDelta:
    return pb.ResponseOutputTextDelta(
        response_id=event.response_id,
        item_id=event.item_id,
        delta=event.text,
        offset=None if event.offset_s is None else duration(event.offset_s),
    )


def _transcript_updated(event: domain.TranscriptUpdated) -> pb.InputAudioTranscriptionUpdated:
    return pb.InputAudioTranscriptionUpdated(item_id=event.item_id, transcript=event.text)


def _transcript_completed(event: domain.TranscriptCompleted) -> pb.InputAudioTranscriptionCompleted:
    return pb.InputAudioTranscriptionCompleted(
        item_id=event.item_id, transcript=event.text, language_code=event.language_code
    )


def _response_created(event: domain.ResponseCreated) -> pb.ResponseCreated:
    return pb.ResponseCreated(response_id=event.response_id, item_id=event.item_id)


def _function_call(event: domain.FunctionCall) -> pb.ResponseFunctionCall:
    return pb.ResponseFunctionCall(response_id=event.response_id, call=event.call)


def _response_done(event: domain.ResponseDone) -> pb.ResponseDone:
    spans = {name: duration(span) for name, span in vars(event.timings).items() if span is not None}
    return pb.ResponseDone(
        response_id=event.response_id,
        status=_STATUSES[event.status],
        usage=event.usage,
        timings=pb.TurnTimings(**spans),
        transcript=event.transcript,
    )


def _item_deleted(event: domain.ItemDeleted) -> pb.ConversationItemDeleted:
    return pb.ConversationItemDeleted(item_id=event.item_id)


def _error(event: domain.Failure) -> pb.ErrorEvent:
    error = event.error
    return pb.ErrorEvent(
        client_event_id=event.client_event_id,
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=f"{error.field}: {error.message}" if error.field else error.message,
        retry_delay=None if error.retry_after_s is None else duration(error.retry_after_s),
    )


_EVENTS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    domain.SessionCreated: ("session_created", _session_created),
    domain.SessionUpdated: ("session_updated", _session_updated),
    domain.SpeechStarted: ("input_audio_buffer_speech_started", _speech_started),
    domain.SpeechStopped: ("input_audio_buffer_speech_stopped", _speech_stopped),
    domain.TranscriptUpdated: ("input_audio_transcription_updated", _transcript_updated),
    domain.TranscriptCompleted: ("input_audio_transcription_completed", _transcript_completed),
    domain.ResponseCreated: ("response_created", _response_created),
    domain.TextDelta: ("response_output_text_delta", _text_delta),
    domain.AudioDelta: ("response_output_audio_delta", _audio_delta),
    domain.FunctionCall: ("response_function_call", _function_call),
    domain.ResponseDone: ("response_done", _response_done),
    domain.ItemDeleted: ("conversation_item_deleted", _item_deleted),
    domain.Failure: ("error", _error),
}
"""For each event, the field of the contract's oneof and what goes into it."""
