"""A live session over scripted services, and a client that drives it."""

from typing import Any

from prometheus_client import CollectorRegistry

from orchestrator.domain import (
    ServerEvent,
    SessionConfig,
    SessionCreated,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
)
from orchestrator.live import LiveSession, SessionOptions
from orchestrator.metrics import TurnMetrics
from orchestrator.turn import TurnOptions
from tests.support.scripted_stages import ScriptedStages

DEFAULT = SessionConfig()
SECOND = bytes(32_000)
"""One second of audio in the default input format."""


class Client:
    """The session's events as they come, and what the test does to it."""

    def __init__(self, *answers: list[Any], config: SessionConfig = DEFAULT, speculation: bool = True) -> None:
        self.stages = ScriptedStages()
        self.stages.llm.scripts.extend(answers)
        self.registry = CollectorRegistry()
        metrics = TurnMetrics(self.registry)
        stages: Any = self.stages
        self.session = LiveSession(stages, "s", config, SessionOptions(TurnOptions(60.0), speculation), metrics)
        self.events: list[ServerEvent] = []
        self.iterator = aiter(self.session.outbox)

    def kinds(self) -> list[str]:
        """Names of the events that came, in order."""
        return [type(event).__name__ for event in self.events]

    async def __aenter__(self) -> "Client":
        await self.session.open("conversation")
        await self.until(SessionCreated)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.session.aclose()

    async def until(self, kind: type) -> Any:
        """The next event of that kind; those before it are in `events`."""
        while True:
            event = await anext(self.iterator)
            self.events.append(event)
            if isinstance(event, kind):
                return event

    def hear(self, *events: Any) -> None:
        """What recognition tells the session of the audio sent so far; an exception is its failure."""
        for event in events:
            self.stages.stt.opened[-1].heard.put_nowait(event)

    async def say(self, text: str) -> None:
        """A second of audio, with an utterance in it that is heard as this."""
        await self.session.append_audio(SECOND)
        self.hear(SpeechStarted("u", 0.1), SpeechStopped("u", 0.9), TranscriptCompleted("u", text, "en"))
