"""What an engine is to the rest of the service."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from services.common.audio import Samples
from services.tts.domain import Segment, Voice

FIRST, LATER = 0, 1
"""Priorities: the first sentence of an answer goes before what others go on with, whose listeners are still busy."""


class Engine(ABC):
    """Turns segments into audio. One file an engine; heavy imports happen in `load`."""

    name: str
    """As in `--tts`."""

    def __init__(self) -> None:
        self.voices: tuple[Voice, ...] = ()
        """What it can speak with; known once it is loaded."""
        self.default_voice = ""

    @abstractmethod
    async def load(self) -> None:
        """Make the first synthesis as fast as any other, and fill in the voices.

        Raises:
            StartupError: where the engine or its model is missing.
        """

    @abstractmethod
    def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """Speak: mono samples at the voice's native rate, in blocks of any length, each as soon as it is there.

        An async generator: closing it, or cancelling the task that reads it, ends the work within a sentence.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything; nothing is being synthesized any more."""
