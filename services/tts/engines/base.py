"""What an engine is to the rest of the service."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from services.common.audio import Samples
from services.tts.domain import Segment, Voice


class Engine(ABC):
    """Turns segments into audio. One file an engine; heavy imports happen in `load`."""

    name: str
    """As in `--tts`."""
    starts_programs = False
    """Whether it starts programs, with asyncio."""

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

    def check_room(self, segment: Segment) -> None:  # noqa: B027  most have no bound of their own
        """Refuse a segment that the engine is too busy for, before anything is said.

        Raises:
            OverloadedError: telling when to try again.
        """

    @abstractmethod
    def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """Speak: mono samples at the voice's native rate, in blocks of any length, each as soon as it is there.

        An async generator: closing it, or cancelling the task that reads it, ends the work within a sentence.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of everything; nothing is being synthesized any more."""
