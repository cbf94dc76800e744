"""Two engines as one: the voices of the second speak what those of the first cannot."""

from collections.abc import AsyncGenerator

from services.common.audio import Samples
from services.tts.domain import Segment
from services.tts.engines.base import Engine


class WithFallback(Engine):
    """Args:
    first: whose voices come first, and speak where none is asked for.
    second: whose voices follow, but for those whose names are taken.
    """

    def __init__(self, first: Engine, second: Engine) -> None:
        super().__init__()
        self.name = first.name
        self.starts_programs = first.starts_programs or second.starts_programs
        self._engines = {engine.name: engine for engine in (second, first)}
        self._first, self._second = first, second

    async def load(self) -> None:
        """Load both."""
        await self._first.load()
        await self._second.load()
        taken = {voice.name for voice in self._first.voices}
        others = tuple(voice for voice in self._second.voices if voice.name not in taken)
        self.voices = (*self._first.voices, *others)
        self.default_voice = self._first.default_voice

    def check_room(self, segment: Segment) -> None:
        """As the voice's engine has it."""
        self._engines[segment.voice.engine].check_room(segment)

    def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """As the voice's engine speaks."""
        return self._engines[segment.voice.engine].synthesize(segment)

    async def aclose(self) -> None:
        """Let go of both."""
        await self._second.aclose()
        await self._first.aclose()
