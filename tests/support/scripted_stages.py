"""The three services as scripts, for tests of the orchestrator's own logic: no network, no clock."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from parley.common.v1 import chat_pb2

from orchestrator.domain import ListeningEvent, SessionConfig
from orchestrator.stages.language_model import (
    GenerationCompleted,
    GenerationEvent,
    GenerationStarted,
    Prompt,
    SpeechSegment,
)
from services.common.errors import NotFoundError, ParleyError

Step = GenerationEvent | ParleyError | asyncio.Event
"""An event to send, an error to fail with, or something to wait for."""


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def answer(*sentences: str, cut_short: bool = False) -> list[Step]:
    """A script in which the model says these sentences, each a segment of its own."""
    steps: list[Step] = [GenerationStarted("held")]
    for number, sentence in enumerate(sentences):
        steps += [sentence if number == 0 else f" {sentence}", SpeechSegment(sentence, "en")]
    return [*steps, GenerationCompleted(cut_short, chat_pb2.Usage(output_tokens=len(sentences)))]


@dataclass
class ScriptedLlm:
    """Plays one script for each turn; remembers prompts and what was settled."""

    scripts: deque[list[Step]] = field(default_factory=deque)
    prompts: list[Prompt] = field(default_factory=list)
    configs: list[SessionConfig] = field(default_factory=list)
    commits: list[tuple[str, str, str | None]] = field(default_factory=list)
    discards: list[str] = field(default_factory=list)
    prefills: list[str] = field(default_factory=list)
    """The words that were told ahead."""
    readied: asyncio.Event = field(default_factory=_set_event)
    """What `prefill` waits for."""
    pending: frozenset[str] = frozenset()
    """Calls that the history keeps of a response that was cut."""
    items: list[chat_pb2.Message] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Items that the history does not have."""
    closed: int = 0

    async def generate(self, config: SessionConfig, prompt: Prompt) -> AsyncGenerator[GenerationEvent, None]:
        self.prompts.append(prompt)
        self.configs.append(config)
        try:
            for step in self.scripts.popleft():
                if isinstance(step, ParleyError):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    await asyncio.sleep(0)
                    yield step
        finally:
            self.closed += 1

    async def create_conversation(self, conversation_id: str) -> None:
        return None

    async def open_conversation(self, conversation_id: str) -> frozenset[str]:
        return self.pending

    async def append_message(self, conversation_id: str, message: chat_pb2.Message) -> None:
        self.items.append(message)

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        if item_id in self.missing:
            raise NotFoundError("no such item", field="conversation_item_delete.item_id")
        self.deleted.append(item_id)

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        self.commits.append((conversation_id, response_id, heard_text))

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        self.discards.append(response_id)

    async def settle(self) -> None:
        """There is nothing that it lacks."""

    async def pending_calls(self) -> frozenset[str]:
        return self.pending

    async def prefill(self, config: SessionConfig, conversation_id: str, words: str) -> int:
        self.prefills.append(words)
        await self.readied.wait()
        return 0


@dataclass
class ScriptedSynthesis:
    """What was asked of the TTS, and whether it was stopped before its end."""

    text: str
    cancelled: bool = False


@dataclass
class ScriptedTts:
    """Speaks every sentence in `chunks` of half a second (PCM16, 24 kHz); waits for `gate` before the second one. None
    comes before `character_s` seconds for each character of the segment have passed.

    Each chunk holds numbers of its own, so that audio that is missing or doubled shows.
    """

    chunks: int = 2
    character_s: float = 0.0
    gate: asyncio.Event | None = None
    error: ParleyError | None = None
    begun: list[ScriptedSynthesis] = field(default_factory=list)
    spoken: int = 0

    async def synthesize(
        self, config: SessionConfig, segment: SpeechSegment, previous_text: str
    ) -> AsyncGenerator[bytes, None]:
        synthesis = ScriptedSynthesis(segment.text)
        self.begun.append(synthesis)
        try:
            await asyncio.sleep(self.character_s * len(segment.text))
            for number in range(self.chunks * max(1, segment.text.count("."))):
                if self.error is not None:
                    raise self.error
                if number == 1 and self.gate is not None:
                    await self.gate.wait()
                await asyncio.sleep(0)
                self.spoken += 1
                yield self.spoken.to_bytes(2, "little") * 12_000
        except (asyncio.CancelledError, GeneratorExit):
            synthesis.cancelled = True
            raise


class ScriptedListening:
    """Recognition whose events the test puts into `heard`; None ends it, an error fails it."""

    def __init__(self, *, pauses: bool) -> None:
        self.pauses = pauses
        self.heard: asyncio.Queue[ListeningEvent | ParleyError | None] = asyncio.Queue()
        self.sent: list[bytes] = []
        """Audio; what is empty ends an utterance."""
        self._unsent: list[bytes] = []
        self.idle: list[bool] = []
        self.forced = 0
        self.cancelled = False
        self.taking = _set_event()
        """What `send_audio` waits for."""

    def add_audio(self, audio: bytes, *, idle: bool = False) -> bool:
        self._unsent.append(audio)
        self.idle.append(idle)
        return True

    async def send_audio(self) -> None:
        await self.taking.wait()
        self.sent += self._unsent
        self._unsent.clear()

    def add_end(self) -> None:
        self._unsent.append(b"")
        self.forced += 1

    async def finish(self) -> None:
        self.heard.put_nowait(None)

    def cancel(self) -> None:
        self.cancelled = True
        self.heard.put_nowait(None)

    async def events(self) -> AsyncGenerator[ListeningEvent, None]:
        while (event := await self.heard.get()) is not None:
            if isinstance(event, ParleyError):
                raise event
            yield event


@dataclass
class ScriptedStt:
    """Hands out scripted recognitions, newest last."""

    opened: list[ScriptedListening] = field(default_factory=list)

    def listen(self, config: SessionConfig, *, pauses: bool) -> ScriptedListening:
        self.opened.append(ScriptedListening(pauses=pauses))
        return self.opened[-1]


@dataclass
class ScriptedStages:
    """Stands where `orchestrator.stages.Stages` does."""

    stt: Any = field(default_factory=ScriptedStt)
    llm: Any = field(default_factory=ScriptedLlm)
    tts: Any = field(default_factory=ScriptedTts)

    async def check_names(self, config: SessionConfig) -> None:
        return None
