"""Whole conversations in virtual time, in any order of events: what the client sees always makes sense."""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.common.v1 import chat_pb2
from prometheus_client import CollectorRegistry

from orchestrator.domain import (
    AudioDelta,
    FunctionCall,
    ListeningEvent,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TextDelta,
    TranscriptCompleted,
    TranscriptUpdated,
)
from orchestrator.live import LiveSession, SessionOptions
from orchestrator.metrics import TurnMetrics
from orchestrator.stages.language_model import GenerationCompleted, GenerationStarted, SpeechSegment
from orchestrator.turn import TurnOptions
from services.common.errors import ParleyError, UpstreamError
from tests.support.scripted_stages import ScriptedLlm, ScriptedStages, ScriptedTts, Step
from tests.support.virtual_time import in_virtual_time

BYTES_PER_SECOND = SessionConfig().output_format.bytes_per_second
SENTENCES = ("One two three.", "Four five.", "Six.")
ACTIONS = (
    *("start", "pause", "text", "silence", "resume", "stop", "words", "mm-hm", "final", "final mm-hm", "final silence"),
    *("request", "cancel", "output", "truncate", "lost"),
)
USUAL = {
    "a turn": ("start", "words", "stop", "final"),
    "a guess": ("start", "pause", "text", "stop", "final"),
    "a wrong guess": ("start", "pause", "text", "resume", "pause", "text", "stop", "final"),
    "another wrong guess": ("start", "pause", "text", "stop", "final mm-hm"),
    "a cough": ("start", "stop", "final silence"),
}
DELAYS_S = (0.0, 0.01, 0.3, 1.0, 2.5)
steps = st.lists(st.tuples(st.sampled_from((*ACTIONS, *USUAL)), st.sampled_from(DELAYS_S)), max_size=30)


class EndlessLlm(ScriptedLlm):
    """Every answer has an id of its own; every fourth calls a function, every seventh fails in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = self  # type: ignore[assignment]
        self.number = 0

    def popleft(self) -> list[Step]:
        self.number += 1
        script: list[Step] = [GenerationStarted(f"held_{self.number}")]
        for at, sentence in enumerate(SENTENCES):
            script += [sentence if at == 0 else f" {sentence}", SpeechSegment(sentence, "en")]
        if self.number % 4 == 0:
            script.append(chat_pb2.ToolCall(id=f"call_{self.number}", name="look"))
        if self.number % 7 == 0:
            script.append(UpstreamError("the language model service is not reachable"))
        return [*script, GenerationCompleted(False, None)]


class Conversation:
    """A session, what is done to it, and what its client gets."""

    def __init__(self) -> None:
        self.llm, self.tts = EndlessLlm(), ScriptedTts()
        self.stages = ScriptedStages(llm=self.llm, tts=self.tts)
        stages: Any = self.stages
        options = SessionOptions(TurnOptions(60.0))
        self.session = LiveSession(stages, "s", SessionConfig(), options, TurnMetrics(CollectorRegistry()))
        self.events: list[ServerEvent] = []
        self.utterance = 0

    async def play(self, script: list[tuple[str, float]]) -> None:
        await self.session.open("conversation")
        reading = asyncio.create_task(self.read())
        for action, delay_s in script:
            await self.session.append_audio(bytes(640))
            for part in USUAL.get(action, (action,)):
                with contextlib.suppress(ParleyError):
                    self.act(part)
                await asyncio.sleep(delay_s)
        await self.session.append_audio(bytes(640))
        self.act("final silence")
        await asyncio.sleep(60)
        await self.session.finish()
        await reading
        await self.session.aclose()

    async def read(self) -> None:
        async for event in self.session.outbox:
            self.events.append(event)

    def act(self, action: str) -> None:
        utterance = f"u{self.utterance}"
        heard: dict[str, ListeningEvent | ParleyError] = {
            "start": SpeechStarted(f"u{self.utterance + 1}", 0.0),
            "pause": SpeechPaused(utterance, 0.0),
            "text": TranscriptUpdated(utterance, "some words", "en", at_pause=True),
            "silence": TranscriptUpdated(utterance, "", "en", at_pause=True),
            "resume": SpeechResumed(utterance),
            "stop": SpeechStopped(utterance, 0.0),
            "words": TranscriptUpdated(utterance, "some", "en"),
            "mm-hm": TranscriptUpdated(utterance, "mm-hm", "en"),
            "final": TranscriptCompleted(utterance, "Some words.", "en"),
            "final mm-hm": TranscriptCompleted(utterance, "Mm-hm.", "en"),
            "final silence": TranscriptCompleted(utterance, "", "en"),
            "lost": UpstreamError("the speech-to-text service is not reachable"),
        }
        if action in heard:
            self.utterance += action == "start"
            self.stages.stt.opened[-1].heard.put_nowait(heard[action])
        elif action == "request":
            self.session.create_response()
        elif action == "cancel":
            self.session.cancel_response("")
        elif action == "truncate":
            audio = [event for event in self.events if isinstance(event, AudioDelta)]
            if audio:
                self.session.truncate(audio[-1].item_id, audio[-1].offset_s)
        elif action == "output":
            calls = [event.call.id for event in self.events if isinstance(event, FunctionCall)]
            if calls:
                part = chat_pb2.ContentPart(text="42")
                message = chat_pb2.Message(role=chat_pb2.ROLE_TOOL, tool_call_id=calls[-1], content=[part])
                self.session.create_item(message, "")

    def check(self) -> None:
        created: dict[str, int] = {}
        done: dict[str, ResponseDone] = {}
        heard_s: dict[str, float] = defaultdict(float)
        text: dict[str, str] = defaultdict(str)
        for event in self.events:
            response_id = getattr(event, "response_id", None)
            if response_id is None:
                continue
            if isinstance(event, ResponseCreated):
                assert response_id not in created, "a response is created once"
                assert set(created) == set(done), "one response at a time"
                created[response_id] = 1
                continue
            assert response_id in created, "nothing comes of a response that the client does not know of"
            assert response_id not in done, "nothing comes of a response that is over"
            if isinstance(event, ResponseDone):
                done[response_id] = event
            elif isinstance(event, AudioDelta):
                assert event.offset_s <= heard_s[response_id] + 1e-6, "no audio is missing"
                heard_s[response_id] = event.offset_s + len(event.audio) / BYTES_PER_SECOND
            elif isinstance(event, TextDelta):
                text[response_id] += event.text
        assert set(created) == set(done), "every response ends"
        for response_id, end in done.items():
            if end.status is ResponseStatus.COMPLETED:
                assert heard_s[response_id] == pytest.approx(len(SENTENCES)), "all of it was sent"
                assert text[response_id] == end.transcript == " ".join(SENTENCES)
        settled = [response_id for _, response_id, _ in self.llm.commits] + self.llm.discards
        assert len(settled) == len(set(settled)), "a turn is settled once"
        assert len(self.llm.commits) <= len(created)
        assert self.llm.closed == len(self.llm.prompts), "no generation is left running"


@given(steps)
def test_whatever_happens_every_response_ends_once_whole_or_cut_and_nothing_of_it_comes_after(
    script: list[tuple[str, float]],
) -> None:
    async def converse() -> None:
        conversation = Conversation()
        await conversation.play(script)
        conversation.check()

    in_virtual_time(converse())
