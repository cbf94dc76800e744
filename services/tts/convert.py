"""Between the contract's messages and the domain."""

from parley.tts.v1 import tts_service_pb2 as pb

from services.common import wire
from services.tts.domain import Chunk, Completed, Event, Started, SynthesisRequest, Voice


def request(message: pb.SynthesizeRequest) -> SynthesisRequest:
    """A request from the wire.

    Raises:
        UnsupportedAudioError: naming the field below `audio_format` at fault.
    """
    wanted = wire.audio_format(message.audio_format, "audio_format") if message.HasField("audio_format") else None
    return SynthesisRequest(
        text=message.text,
        voice=message.voice,
        language_code=message.language_code,
        audio_format=wanted,
        speaking_rate=message.speaking_rate if message.HasField("speaking_rate") else 1.0,
        previous_text=message.previous_text,
        audio_only=message.audio_only,
    )


def response(event: Event) -> pb.SynthesizeResponse:
    """An event for the wire."""
    match event:
        case Chunk():
            audio = pb.AudioChunk(data=event.data, offset=wire.duration(event.offset_s))
            return pb.SynthesizeResponse(audio=audio)
        case Started():
            audio_format = wire.audio_format_message(event.audio_format)
            return pb.SynthesizeResponse(started=pb.SynthesisStarted(voice=event.voice, audio_format=audio_format))
        case Completed():
            return pb.SynthesizeResponse(
                completed=pb.SynthesisCompleted(
                    audio_duration=wire.duration(event.audio_s),
                    processing_duration=wire.duration(event.processing_s),
                    character_count=event.characters,
                )
            )


def voice(speaker: Voice) -> pb.Voice:
    """A voice for the wire."""
    return pb.Voice(
        name=speaker.name,
        engine=speaker.engine,
        language_codes=speaker.language_codes,
        native_audio_format=wire.audio_format_message(speaker.native_format),
    )
