"""An engine whose model is in this process, or in one beside it: one piece of text at a time, for all conversations."""

import time
from abc import abstractmethod
from collections.abc import AsyncGenerator
from typing import ClassVar

from services.common.audio import Samples
from services.common.model_thread import ModelThread
from services.tts import text as texts
from services.tts.calibration import sample_text
from services.tts.domain import MAX_RATE, MIN_RATE, Segment, Voice
from services.tts.engines.base import Engine
from services.tts.loudness import even_gain, gain, levelled
from services.tts.settings import TtsSettings
from services.tts.timescale import time_scale
from services.tts.trim import trim
from services.tts.workload import Workload

LONGEST_PIECE = 200
"""Characters given to a model at once: some 12 s of speech, so that no request holds it for long."""


class SentenceEngine(Engine):
    """Speaks the pieces of all requests on one thread, in the order in which their listeners run out of audio.

    First pieces are wanted at once, so they go before what others go on with, unless those wait already.

    Args:
        settings: how much may be asked of it, and whatever the engine needs.
    """

    speeds: ClassVar[tuple[float, float]] = (MIN_RATE, MAX_RATE)
    """The slowest and the fastest at which the model is exact and clear; beyond, its speech is stretched."""

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__()
        self._settings = settings
        self._thread = ModelThread(self.name)
        self._workload = Workload(settings.tts_max_delay_s)
        self._gains: dict[str, float] = {}

    async def load(self) -> None:
        """Load the model, and speak with the default voice."""
        self.voices, self.default_voice = await self._thread.run(self._load)
        voice = next(voice for voice in self.voices if voice.name == self.default_voice)
        await self._thread.run(self._gain, voice)

    def check_room(self, segment: Segment) -> None:
        """Refuse the beginning of an answer that the engine is too slow for; who is inside already may go on."""
        if not segment.previous_text:
            self._workload.check(self._audio_of(segment.text, segment))

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """One block a piece; the next one is begun when this one has been taken."""
        pieces = self._pieces(segment)
        left = [self._audio_of(" ".join(pieces[at:]), segment) for at in range(len(pieces) + 1)]
        with self._workload.speech(left[0], follows=bool(segment.previous_text)) as speech:
            for index, piece in enumerate(pieces):
                pause_s = texts.longest_pause_s(piece, last=index == len(pieces) - 1)
                samples = await self._thread.run(self._spoken, piece, segment, pause_s, priority=speech.due_at)
                speech.made(len(samples) / segment.voice.native_format.sample_rate_hz, left[index + 1])
                yield samples

    async def aclose(self) -> None:
        """End the thread, and with it the model."""
        await self._thread.aclose()

    @abstractmethod
    def _load(self) -> tuple[tuple[Voice, ...], str]:
        """On the thread: the voices, and the name of the default one, ready to speak.

        Raises:
            StartupError: where the engine or its model is missing.
        """

    @abstractmethod
    def _speak(self, piece: str, voice: Voice, speed: float) -> Samples:
        """On the thread: one piece, `speed` times as fast as normal, a speed within `speeds`."""

    def _pieces(self, segment: Segment) -> list[str]:
        """Sentences, and parts of long ones; those without a word ("...") would be noise."""
        pieces = (piece for sentence in texts.sentences(segment.text) for piece in texts.cut(sentence, LONGEST_PIECE))
        return [piece for piece in pieces if texts.has_speech(piece)]

    def _audio_of(self, text: str, segment: Segment) -> float:
        return self._workload.audio_of(len(text), segment.speaking_rate)

    def _spoken(self, piece: str, segment: Segment, pause_s: float) -> Samples:
        """On the thread: one piece, as loud as it should be; how long it took is remembered."""
        factor = self._gain(segment.voice)
        rate, rate_hz = segment.speaking_rate, segment.voice.native_format.sample_rate_hz
        speed = min(max(rate, self.speeds[0]), self.speeds[1])
        begun = time.monotonic()
        trimmed = trim(self._speak(piece, segment.voice, speed), rate_hz, pause_s / speed)
        samples = time_scale(levelled(trimmed, even_gain(trimmed, rate_hz, factor)), rate / speed, rate_hz)
        self._learn(begun, samples, piece, segment.voice)
        return samples

    def _gain(self, voice: Voice) -> float:
        """On the thread: measured when a voice speaks first, on a text that is the same every time."""
        if voice.name not in self._gains:
            text = sample_text(voice)
            begun = time.monotonic()
            samples = self._speak(text, voice, 1.0)
            self._learn(begun, samples, text, voice)
            self._gains[voice.name] = gain(samples, voice.native_format.sample_rate_hz)
        return self._gains[voice.name]

    def _learn(self, begun: float, samples: Samples, text: str, voice: Voice) -> None:
        audio_s = len(samples) / voice.native_format.sample_rate_hz
        self._workload.learn(time.monotonic() - begun, audio_s, len(text))
