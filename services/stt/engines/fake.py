"""A scripted recognizer: whatever is said, it answers with the same text after a set delay. For load tests and clients'
developers; it needs no model.
"""

import asyncio

from services.common.audio import Samples
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest, Word
from services.stt.engines.base import Engine
from services.stt.settings import SttSettings
from services.stt.timebase import to_seconds
from services.stt.vad import EnergyDetector, VoiceDetector

MODEL_NAME = "fake"
_WORDS_PER_SECOND = 2.5


class FakeEngine(Engine):
    """Args:
    transcript: the text of every utterance.
    delay_s: how long each recognition seems to take.
    """

    listens = False
    parallel = None

    def __init__(self, transcript: str, delay_s: float) -> None:
        self._words = transcript.split()
        self._delay_s = delay_s

    async def load(self) -> None:
        """Nothing to load."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(MODEL_NAME, "fake", ("en",), supports_word_timings=True)

    def new_detector(self) -> VoiceDetector:
        return EnergyDetector()

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        spoken = round(to_seconds(len(samples)) * _WORDS_PER_SECOND) if interim else len(self._words)
        words = self._words[: max(1, spoken)]
        step_s = to_seconds(len(samples)) / max(1, len(words))
        timed = tuple(Word(word, index * step_s, (index + 1) * step_s) for index, word in enumerate(words))
        return Recognition(
            text=" ".join(words),
            language=request.language or "en",
            words=timed if request.word_timings else (),
            processing_s=self._delay_s,
        )

    async def aclose(self) -> None:
        """Nothing to let go of."""


def create(settings: SttSettings) -> FakeEngine:
    """The engine as the settings script it."""
    return FakeEngine(settings.fake_transcript, settings.fake_stt_delay_ms / 1000)
