"""A backend that plays a script, for tests of what is around it."""

import asyncio
from collections.abc import AsyncGenerator

from services.llm.backends.base import Backend, Capabilities
from services.llm.domain import BackendEvent, Finished, FinishReason, GenerationRequest, TextDelta, Usage

STOP = Finished(FinishReason.STOP, Usage(1, 2))


class ScriptedBackend(Backend):
    """Plays a list of events; an exception is raised, an asyncio.Event awaited. Notes what it was asked."""

    def __init__(self) -> None:
        self.script: list[BackendEvent | Exception | asyncio.Event] = [TextDelta("Hello. "), TextDelta("Bye."), STOP]
        self.requests: list[GenerationRequest] = []
        self.closed = 0
        self.able = Capabilities("model", "scripted", tools=True, parallel=1)

    @property
    def capabilities(self) -> Capabilities:
        return self.able

    async def load(self) -> None:
        """Nothing to load."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        self.requests.append(request)
        try:
            for step in list(self.script):
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed += 1

    async def prefill(self, request: GenerationRequest) -> int:
        self.requests.append(request)
        return 7

    async def aclose(self) -> None:
        """Nothing to close."""
