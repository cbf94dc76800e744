"""The client of the text-to-speech service."""

import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from orchestrator.domain import SessionConfig
from orchestrator.stages.calls import Timeouts, check_name, explained, responses, when_there_is_room
from orchestrator.stages.language_model import SpeechSegment
from services.common.channel import id_metadata
from services.common.errors import UnavailableError, VoiceNotFoundError
from services.common.wire import audio_format_message, seconds

log = logging.getLogger(__name__)

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

        Where a replica dies in the middle, another one is asked for the same text, once, and heard from where the first
        broke off: most engines say the same text with the same samples, and of the others a join is heard.

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

        told_bytes = told_words = 0
        for last_try in (False, True):
            skip_bytes, skip_words = told_bytes, told_words
            try:
                async with contextlib.aclosing(self._answers(request)) as answers:
                    async for response in answers:
                        if response.HasField("audio"):
                            audio = response.audio.data[skip_bytes:]
                            skip_bytes -= min(skip_bytes, len(response.audio.data))
                            told_bytes += len(audio)
                            if audio:
                                yield audio
                        elif response.HasField("word_timing"):
                            if skip_words:
                                skip_words -= 1
                                continue
                            told_words += 1
                            timing = response.word_timing
                            yield WordTiming(timing.text, seconds(timing.start_offset), seconds(timing.end_offset))
                return
            except UnavailableError as error:
                if last_try or not told_bytes:
                    raise
                log.warning("speech broke off, another replica says the rest", extra={"error": str(error)})

    async def _answers(
        self, request: tts_service_pb2.SynthesizeRequest
    ) -> AsyncGenerator[tts_service_pb2.SynthesizeResponse, None]:
        """What the service sends; it is asked again where it has no room at first."""

        async def begin() -> tuple[AsyncGenerator[tts_service_pb2.SynthesizeResponse, None], _Response]:
            call = self._stub.Synthesize(request, timeout=self._timeouts.work_s, metadata=id_metadata())
            return (answers := responses(call, NAME)), await anext(answers, None)

        answers, response = await when_there_is_room(begin)
        async with contextlib.aclosing(answers):
            while response is not None:
                yield response
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
