"""The client of the text-to-speech service."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from orchestrator.domain import SessionConfig
from orchestrator.stages.calls import Timeouts, check_name, explained, responses, when_there_is_room
from orchestrator.stages.language_model import SpeechSegment
from services.common.channel import id_metadata
from services.common.errors import VoiceNotFoundError
from services.common.wire import audio_format_message, seconds

NAME = "text-to-speech"
_Response: TypeAlias = tts_service_pb2.SynthesizeResponse | None
"""None after the last."""


@dataclass(frozen=True)
class WordTiming:
    """A word is said from `start_s` to `end_s` of its segment's audio."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Voice:
    """A voice and the languages that it speaks (BCP-47)."""

    name: str
    language_codes: tuple[str, ...]


class TextToSpeech:
    """Speech for segments of text."""

    def __init__(self, channel: grpc.aio.Channel, timeouts: Timeouts) -> None:
        self._stub = tts_service_pb2_grpc.TextToSpeechServiceStub(channel)
        self._timeouts = timeouts

    async def synthesize(
        self, config: SessionConfig, segment: SpeechSegment, previous_text: str
    ) -> AsyncGenerator[bytes | WordTiming, None]:
        """The audio of a segment in the session's output format, as it comes, and when its words are said, where the
        engine knows. Closing the generator stops the service.

        Raises:
            ParleyError: where the call fails.
        """
        request = tts_service_pb2.SynthesizeRequest(
            text=segment.text,
            voice=config.voice,
            audio_only=True,
            language_code=segment.language_code,
            audio_format=audio_format_message(config.output_format),
            previous_text=previous_text,
        )

        async def begin() -> tuple[AsyncGenerator[tts_service_pb2.SynthesizeResponse, None], _Response]:
            call = self._stub.Synthesize(request, timeout=self._timeouts.work_s, metadata=id_metadata())
            return (answers := responses(call, NAME)), await anext(answers, None)

        answers, response = await when_there_is_room(begin)
        async with contextlib.aclosing(answers):
            while response is not None:
                if response.HasField("audio"):
                    yield response.audio.data
                elif response.HasField("word_timing"):
                    timing = response.word_timing
                    yield WordTiming(timing.text, seconds(timing.start_offset), seconds(timing.end_offset))
                response = await anext(answers, None)

    async def check_voice(self, name: str) -> None:
        """Raise VoiceNotFoundError for a name that the service does not have; empty is its default."""
        if name:
            check_name(name, (voice.name for voice in await self.voices()), "session.voice", VoiceNotFoundError)

    async def voices(self) -> tuple[Voice, ...]:
        """What the service has.

        Raises:
            ParleyError: where the call fails.
        """
        with explained(NAME):
            listed = await self._stub.ListVoices(
                tts_service_pb2.ListVoicesRequest(), timeout=self._timeouts.call_s, metadata=id_metadata()
            )
        return tuple(Voice(voice.name, tuple(voice.language_codes)) for voice in listed.voices)
