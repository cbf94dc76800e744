"""Summaries in the background: beside turns, after failures, while things change."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from services.common.errors import ConversationNotFoundError
from services.llm.compactor import FIRST_RETRY_S, Compactor
from services.llm.conversation.conversation import ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import BackendEvent, Finished, FinishReason, Message, Role, TextDelta, TextPart
from services.llm.idle import Idle
from services.llm.metrics import CompactionMetrics
from tests.support.scripted_backend import STOP, ScriptedBackend

GOOD: list[BackendEvent | Exception | asyncio.Event] = [TextDelta("<summary>They "), TextDelta("met.</summary>"), STOP]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """Everything around a compactor, with a window of four turns."""

    def __init__(self) -> None:
        self.backend = ScriptedBackend()
        self.backend.script = list(GOOD)
        self.conversations = Conversations(MemoryStore(1000.0, 10), chat_size=4, held_ttl_s=50.0, compact=True)
        self.idle = Idle(1)
        self.clock = Clock()
        self.registry = CollectorRegistry()
        self.compactor = Compactor(
            self.backend,
            self.conversations,
            self.idle,
            CompactionMetrics(self.registry),
            timeout_s=5.0,
            clock=self.clock,
        )

    async def conversation(self, turns: int = 4) -> str:
        known = await self.conversations.create(ConversationConfig())
        await self.append(known.id, *map(str, range(turns)))
        return known.id

    async def append(self, ident: str, *texts: str) -> None:
        for text in texts:
            messages = (Message(Role.USER, (TextPart(text),)), Message(Role.ASSISTANT, (TextPart(f"re {text}"),)))
            await self.conversations.append(ident, messages)

    async def questions(self, ident: str) -> list[str]:
        known = await self.conversations.get(ident)
        return [message.text for message in known.messages if message.role is Role.USER]

    async def summary(self, ident: str) -> str:
        return (await self.conversations.get(ident)).summary

    def ended(self, outcome: str) -> float:
        value = self.registry.get_sample_value("parley_llm_compaction_seconds_count", {"outcome": outcome})
        return value or 0.0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.compactor.aclose()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_full_window_is_summarized_and_its_newer_half_stays(stage: Stage) -> None:
    ident = await stage.conversation()
    await stage.compactor.settled()
    assert await stage.questions(ident) == ["2", "3"]
    assert await stage.summary(ident) == "They met."
    assert stage.ended("done") == 1
    asked = stage.backend.requests[0].messages
    assert [message.role for message in asked] == [Role.SYSTEM, Role.USER]
    assert asked[1].text.endswith("User: 0\nAssistant: re 0\nUser: 1\nAssistant: re 1")


async def test_the_next_summary_continues_the_first(stage: Stage) -> None:
    ident = await stage.conversation()
    await stage.compactor.settled()
    stage.backend.script = [TextDelta("<summary>They met and ate.</summary>"), STOP]
    await stage.append(ident, "4", "5")
    await stage.compactor.settled()
    assert "Memory so far:\nThey met.\n" in stage.backend.requests[1].messages[1].text
    assert await stage.summary(ident) == "They met and ate."
    assert await stage.questions(ident) == ["4", "5"]


async def test_edge_27_messages_that_arrive_meanwhile_are_kept(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.backend.script = [gate, *GOOD]
    ident = await stage.conversation()
    await settle()
    await stage.append(ident, "4", "5")
    assert await stage.questions(ident) == ["2", "3", "4", "5"]
    assert len(stage.backend.requests) == 1, "one at a time"
    gate.set()
    await stage.compactor.settled()
    assert await stage.questions(ident) == ["2", "3", "4", "5"]
    assert await stage.summary(ident) == "They met."
    assert (await stage.conversations.get(ident)).unsummarized == ()


@pytest.mark.parametrize(
    "script",
    [
        [RuntimeError("broken")],
        [TextDelta("I cannot do that."), STOP],
        [TextDelta("<think>well</think>"), STOP],
        [STOP],
        [TextDelta("<summary>They met.</summary>")],
    ],
    ids=["fails", "nonsense", "only thoughts", "empty", "breaks off"],
)
async def test_edge_27_a_summary_that_fails_leaves_the_history_and_is_tried_again_later(
    stage: Stage, script: list[BackendEvent | Exception | asyncio.Event]
) -> None:
    stage.backend.script = script
    ident = await stage.conversation()
    await stage.compactor.settled()
    assert await stage.questions(ident) == ["0", "1", "2", "3"]
    assert stage.ended("failed") == 1

    await stage.append(ident, "4")
    await stage.compactor.settled()
    assert len(stage.backend.requests) == 1, "it backs off"
    assert await stage.questions(ident) == ["1", "2", "3", "4"], "the window holds"

    stage.clock.now = FIRST_RETRY_S + 0.1
    await stage.append(ident, "5")
    await stage.compactor.settled()
    assert len(stage.backend.requests) == 2
    stage.clock.now = 2 * FIRST_RETRY_S
    await stage.append(ident, "6")
    await stage.compactor.settled()
    assert len(stage.backend.requests) == 2, "twice as long after the second failure"

    stage.clock.now += 2 * FIRST_RETRY_S + 0.1
    stage.backend.script = list(GOOD)
    await stage.append(ident, "7")
    await stage.compactor.settled()
    assert "User: 0\n" in stage.backend.requests[-1].messages[1].text, "what was pushed out meanwhile is covered"
    assert await stage.questions(ident) == ["6", "7"]


async def test_edge_27_a_summary_that_takes_too_long_is_given_up() -> None:
    stage = Stage()
    stage.compactor._timeout_s = 0.01
    stage.backend.script = [asyncio.Event()]
    ident = await stage.conversation()
    await stage.compactor.settled()
    assert (stage.ended("failed"), stage.backend.closed) == (1, 1)
    assert await stage.questions(ident) == ["0", "1", "2", "3"]


async def test_edge_27_a_conversation_deleted_meanwhile_ends_its_summary(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.backend.script = [gate, *GOOD]
    ident = await stage.conversation()
    await settle()
    await stage.conversations.delete(ident)
    gate.set()
    await stage.compactor.settled()
    assert stage.ended("deleted") == 1
    with pytest.raises(ConversationNotFoundError):
        await stage.conversations.get(ident)


async def test_edge_27_a_conversation_made_anew_under_the_same_id_gets_no_summary_of_the_other(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.backend.script = [gate, *GOOD]
    ident = await stage.conversation()
    await settle()
    await stage.conversations.delete(ident)
    await stage.conversations.create(ConversationConfig(), (), ident)
    await stage.append(ident, "hello")
    gate.set()
    await stage.compactor.settled()
    assert (await stage.summary(ident), await stage.questions(ident)) == ("", ["hello"])


async def test_a_summary_gives_way_to_a_turn_and_begins_anew_after_it(stage: Stage) -> None:
    stage.backend.script = [asyncio.Event()]
    ident = await stage.conversation()
    await settle()
    with stage.idle:
        await settle()
        assert stage.backend.closed == 1
        stage.backend.script = list(GOOD)
        await stage.append(ident, "4")
    await stage.compactor.settled()
    assert await stage.questions(ident) == ["3", "4"]
    assert stage.ended("failed") == 0
    assert stage.registry.get_sample_value("parley_llm_compactions_gave_way_total") == 1


async def test_an_answer_that_will_be_no_summary_is_not_waited_for(stage: Stage) -> None:
    stage.backend.script = [TextDelta("User: hello. " * 30), asyncio.Event()]
    await stage.conversation()
    await stage.compactor.settled()
    assert (stage.ended("failed"), stage.backend.closed) == (1, 1)


async def test_a_long_answer_is_used_up_to_its_last_whole_sentence(stage: Stage) -> None:
    stage.backend.script = [TextDelta("<summary>They met. They a"), Finished(FinishReason.LENGTH)]
    ident = await stage.conversation()
    await stage.compactor.settled()
    assert await stage.summary(ident) == "They met."


async def test_closing_stops_a_summary_and_keeps_the_history(stage: Stage) -> None:
    stage.backend.script = [asyncio.Event()]
    ident = await stage.conversation()
    await settle()
    await stage.compactor.aclose()
    assert (stage.ended("stopped"), stage.backend.closed) == (1, 1)
    await stage.append(ident, "4")
    assert await stage.questions(ident) == ["1", "2", "3", "4"]


async def test_a_conversation_may_refuse_summaries(stage: Stage) -> None:
    known = await stage.conversations.create(ConversationConfig(compact_history=False))
    await stage.append(known.id, *map(str, range(6)))
    await stage.compactor.settled()
    assert stage.backend.requests == []
    assert await stage.questions(known.id) == ["2", "3", "4", "5"]
