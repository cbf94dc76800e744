"""From the contract's server events to `events.py`."""

import dataclasses
import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2, error_reason_pb2

from parley_client import events

_TIMINGS = frozenset(field.name for field in dataclasses.fields(events.Timings))
_OUTCOMES = {
    pb.RESPONSE_STATUS_COMPLETED: events.Outcome.COMPLETED,
    pb.RESPONSE_STATUS_CANCELLED: events.Outcome.CANCELLED,
    pb.RESPONSE_STATUS_INCOMPLETE: events.Outcome.INCOMPLETE,
    pb.RESPONSE_STATUS_FAILED: events.Outcome.FAILED,
}
_SAMPLE_BYTES = {audio_pb2.AUDIO_ENCODING_PCM_S16LE: 2, audio_pb2.AUDIO_ENCODING_PCM_F32LE: 4}


def event_of(message: pb.ConverseResponse) -> events.Event | None:
    """A server event as plain data; None for one that is not for the user of a session, or a newer server's."""
    kind = message.WhichOneof("event")
    if kind is None or kind not in _EVENTS:
        return None
    event: events.Event = _EVENTS[kind](getattr(message, kind))
    return event


def frame_bytes(audio_format: audio_pb2.AudioFormat) -> int:
    """Bytes of one sample of every channel."""
    return _SAMPLE_BYTES.get(audio_format.encoding, 1) * (audio_format.channel_count or 1)


def duration(seconds: float) -> Duration:
    """Seconds for the wire."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def _seconds(message: Duration) -> float:
    return message.ToNanoseconds() / 1e9


def _offset(delta: pb.ResponseOutputTextDelta | pb.ResponseOutputAudioDelta) -> float | None:
    return _seconds(delta.offset) if delta.HasField("offset") else None


def _stopped(message: pb.InputAudioBufferSpeechStopped) -> events.SpeechStopped:
    heard = message.turn_end_probability if message.HasField("turn_end_probability") else None
    return events.SpeechStopped(message.item_id, _seconds(message.audio_end), heard)


def _ended(done: pb.ResponseDone) -> events.ResponseEnded:
    timings = None
    if done.HasField("timings"):
        sent = {f"{field.name}_s": _seconds(value) for field, value in done.timings.ListFields()}
        timings = events.Timings(**{name: sent[name] for name in sent.keys() & _TIMINGS})
    outcome = _OUTCOMES.get(done.status, events.Outcome.FAILED)
    return events.ResponseEnded(done.response_id, outcome, done.transcript, timings)


def _called(message: pb.ResponseFunctionCall) -> events.FunctionCall:
    call = message.call
    return events.FunctionCall(message.response_id, call.id, call.name, json.loads(call.arguments_json or "{}"))


def _failed(error: pb.ErrorEvent) -> events.TurnFailed:
    known = error.reason in error_reason_pb2.ErrorReason.values()
    reason = error_reason_pb2.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_") if known else ""
    retry_after_s = _seconds(error.retry_delay) if error.HasField("retry_delay") else None
    return events.TurnFailed(error.message, reason, retry_after_s, error.client_event_id)


_EVENTS: dict[str, Any] = {
    "input_audio_buffer_speech_started": lambda e: events.SpeechStarted(e.item_id, _seconds(e.audio_start)),
    "input_audio_buffer_speech_stopped": _stopped,
    "input_audio_transcription_updated": lambda e: events.InterimTranscript(e.item_id, e.transcript),
    "input_audio_transcription_completed": lambda e: events.FinalTranscript(e.item_id, e.transcript, e.language_code),
    "response_created": lambda e: events.ResponseStarted(e.response_id, e.item_id),
    "response_output_text_delta": lambda e: events.TextDelta(e.response_id, e.delta, _offset(e)),
    "response_output_audio_delta": lambda e: events.AudioDelta(e.response_id, e.audio, _offset(e), e.item_id),
    "response_function_call": _called,
    "response_done": _ended,
    "conversation_item_deleted": lambda e: events.ItemDeleted(e.item_id),
    "error": _failed,
}
