"""What is said where a response fails: synthesized ahead, since the service that fails may be the one that speaks.

It is asked for in every format that sessions use, rather than converted here: the orchestrator needs no audio library.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from orchestrator.domain import SessionConfig
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import TextToSpeech
from services.common.audio_format import AudioFormat
from services.common.errors import ParleyError

log = logging.getLogger(__name__)

RETRY_S = 2.0
_CHUNK_S = 0.1
_MAX_FORMATS = 8
"""Formats whose audio is kept, the latest ones; there are few in use at a time."""


class Apology:
    """Args:
    text: what is said; empty says nothing.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._spoken: dict[AudioFormat, bytes] = {}
        """The audio in each format that is wanted, the latest last; empty where it is not synthesized yet."""
        self._news = asyncio.Event()
        self.want(SessionConfig().output_format)

    def want(self, audio_format: AudioFormat) -> None:
        """Have it synthesized in this format soon: a session has begun to use it."""
        self._spoken[audio_format] = self._spoken.pop(audio_format, b"")
        if len(self._spoken) > _MAX_FORMATS:
            del self._spoken[next(iter(self._spoken))]
        self._news.set()

    async def prepare(self, tts: TextToSpeech) -> None:
        """Synthesize it in the formats that are wanted, now and later; again and again until the service is there."""
        while self.text:
            await self._news.wait()
            self._news.clear()
            for audio_format in [wanted for wanted, spoken in self._spoken.items() if not spoken]:
                try:
                    audio = await self._synthesize(tts, audio_format)
                except ParleyError as error:
                    log.info("apology not synthesized yet", extra={"error": str(error)})
                    self._news.set()
                    await asyncio.sleep(RETRY_S)
                    break
                if audio_format in self._spoken:
                    self._spoken[audio_format] = audio

    def audio(self, wanted: AudioFormat) -> Iterator[bytes]:
        """It as audio, in pieces; nothing before it is synthesized in this format."""
        spoken = self._spoken.get(wanted, b"")
        size = round(wanted.sample_rate_hz * _CHUNK_S) * wanted.frame_bytes
        for at in range(0, len(spoken), size):
            yield spoken[at : at + size]

    async def _synthesize(self, tts: TextToSpeech, audio_format: AudioFormat) -> bytes:
        audio = tts.synthesize(SessionConfig(output_format=audio_format), SpeechSegment(self.text, ""), "")
        async with contextlib.aclosing(audio) as chunks:
            return b"".join([chunk async for chunk in chunks if isinstance(chunk, bytes)])
