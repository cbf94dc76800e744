"""What is said where a response fails: synthesized ahead, since the service that fails may be the one that speaks."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from orchestrator.domain import SessionConfig
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import TextToSpeech
from services.common.audio import decode, encode, resample
from services.common.audio_format import AudioFormat
from services.common.errors import ParleyError

log = logging.getLogger(__name__)

RETRY_S = 2.0
_CHUNK_S = 0.1
_MAX_FORMATS = 8
"""Formats whose audio is kept; there are few in use at a time."""


class Apology:
    """Args:
    text: what is said; empty says nothing.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._format = SessionConfig().output_format
        self._spoken: dict[AudioFormat, bytes] = {}

    async def prepare(self, tts: TextToSpeech) -> None:
        """Synthesize it; again and again until the service is there."""
        while self.text:
            try:
                audio = tts.synthesize(SessionConfig(output_format=self._format), SpeechSegment(self.text, ""), "")
                async with contextlib.aclosing(audio) as chunks:
                    parts = [chunk async for chunk in chunks if isinstance(chunk, bytes)]
                self._spoken = {self._format: b"".join(parts)}
                return
            except ParleyError as error:
                log.info("apology not synthesized yet", extra={"error": str(error)})
                await asyncio.sleep(RETRY_S)

    def audio(self, wanted: AudioFormat) -> Iterator[bytes]:
        """It as audio, in pieces; nothing before it is synthesized."""
        spoken = self._in(wanted)
        size = round(wanted.sample_rate_hz * _CHUNK_S) * wanted.frame_bytes
        for at in range(0, len(spoken), size):
            yield spoken[at : at + size]

    def _in(self, wanted: AudioFormat) -> bytes:
        known = self._spoken.get(wanted)
        if known is not None or not self._spoken:
            return known or b""
        samples = decode(self._spoken[self._format], self._format)
        made = encode(resample(samples, self._format.sample_rate_hz, wanted.sample_rate_hz), wanted)
        if len(self._spoken) < _MAX_FORMATS:
            self._spoken[wanted] = made
        return made
