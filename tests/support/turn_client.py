"""One response over scripted services, and the client that it talks to."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from orchestrator import clock
from orchestrator.apology import Apology
from orchestrator.domain import AudioDelta, Failure, ResponseDone, ServerEvent, SessionConfig
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.stages.language_model import Prompt
from orchestrator.turn import Heard, Turn, TurnOptions
from tests.support.scripted_stages import ScriptedLlm, ScriptedStages, ScriptedTts, answer


@dataclass
class Client:
    """A turn and the client that it talks to."""

    stages: Any
    text_only: bool = False
    conversation: str = "c"
    paced: bool = True
    speculative: bool = False
    apology: Apology = field(default_factory=lambda: Apology(""))
    turn: Turn = field(init=False)
    events: list[ServerEvent] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When each event was taken, in seconds from the beginning."""

    def __post_init__(self) -> None:
        self.begun = clock.now()
        self.outbox = Outbox(lambda event: self.turn.output.audio_left(event))
        config = SessionConfig(text_only=self.text_only)
        options = TurnOptions(60.0, paced=self.paced, apology=self.apology)
        metrics = TurnMetrics(CollectorRegistry())
        self.turn = Turn(self.stages, config, self.outbox, "r", Prompt((), self.conversation), options, metrics)
        if not self.speculative:
            self.turn.confirm(Heard(self.begun))

    async def read(self) -> None:
        async for event in self.outbox:
            self.events.append(event)
            self.at.append(clock.now() - self.begun)

    async def until(self, kind: type) -> Any:
        while not any(isinstance(event, kind) for event in self.events):
            await asyncio.sleep(0.001)
        return next(event for event in self.events if isinstance(event, kind))

    async def run(self) -> list[ServerEvent]:
        async with self:
            pass
        return self.events

    async def __aenter__(self) -> "Client":
        self.running = asyncio.create_task(self.turn.run())
        self.reading = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.turn.cancel()
        await self.running
        self.outbox.close()
        await self.reading

    def audio(self) -> list[AudioDelta]:
        return [event for event in self.events if isinstance(event, AudioDelta)]


async def run(stages: Any, **options: Any) -> list[ServerEvent]:
    return await Client(stages, **options).run()


def done(events: list[ServerEvent]) -> ResponseDone:
    ends = [event for event in events if isinstance(event, ResponseDone)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]


def failures(events: list[ServerEvent]) -> list[str]:
    """What the client was told of failures."""
    return [event.error.message for event in events if isinstance(event, Failure)]


def stages_that_say(*sentences: str, tts: ScriptedTts | None = None, **options: Any) -> ScriptedStages:
    llm = ScriptedLlm()
    llm.scripts.append(answer(*sentences, **options))
    return ScriptedStages(llm=llm, tts=tts or ScriptedTts())
