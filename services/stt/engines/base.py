"""What an STT engine is."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from services.common.audio import Samples
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.vad import SileroModel, VoiceDetector


class Engine(ABC):
    """Recognizes speech; one instance serves all streams, whose turns `schedule.py` gives out. Its heavy imports wait
    for `load`.
    """

    listens: bool = True
    """Whether what it recognizes depends on the audio; where not, a stream that the client cuts is only counted."""

    parallel: int | None = 1
    """Recognitions that it does at a time, known once loaded; None: any number, since another machine does them."""

    @abstractmethod
    async def load(self) -> None:
        """Load the models.

        Raises:
            StartupError: saying what is missing or wrong.
        """

    @property
    @abstractmethod
    def info(self) -> ModelInfo:
        """What it can do; known once loaded."""

    @abstractmethod
    def new_detector(self) -> VoiceDetector:
        """A voice detector for a new stream."""

    @abstractmethod
    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        """What is said in a stretch of audio (float32 mono at 16 kHz, at most 30 s); words are timed from its start.

        Cancel the awaiting task to stop: work that has not begun is dropped, work that has ends at its next step.

        Args:
            samples: the audio.
            request: language, hints, word timings.
            interim: prefer speed to accuracy.
        """

    async def recognize_aloud(
        self, samples: Samples, request: RecognitionRequest, heard: Callable[[Recognition], None]
    ) -> Recognition:
        """The same; those that know the first words before the last tell `heard` each time they know more."""
        return await self.recognize(samples, request)

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of the models, once the work in progress is done."""


class ListeningEngine(Engine):
    """One that finds speech with Silero's detector."""

    _silero: SileroModel | None = None

    async def _load_detector(self) -> None:
        self._silero = await asyncio.to_thread(SileroModel)

    def new_detector(self) -> VoiceDetector:
        if self._silero is None:
            raise RuntimeError("the engine is not loaded")
        return self._silero.new_detector()
