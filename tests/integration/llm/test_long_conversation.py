"""A conversation of 200 turns with tools, summarized while it goes on, on both stores."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from services.llm.backends.base import Capabilities
from services.llm.compactor import Compactor
from services.llm.conversation import stores
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.store import ConversationStore
from services.llm.conversation.window import pending_tool_calls
from services.llm.domain import (
    BackendEvent,
    Completed,
    Finished,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    TurnRequest,
)
from services.llm.metrics import CompactionMetrics
from services.llm.turns import TurnDefaults, Turns
from tests.support.redis_server import needs_redis, redis_server
from tests.support.scripted_backend import ScriptedBackend

TURNS = 200
WINDOW = 30
_NUMBER = re.compile(r"turn-(\d+)")


class Model(ScriptedBackend):
    """Calls a tool in every fifth turn; its summaries are the numbers of the turns, and take three turns each."""

    def __init__(self, *, in_process: bool) -> None:
        super().__init__()
        self.able = Capabilities(
            "model", "scripted", tools=True, parallel=1 if in_process else 8, in_process=in_process
        )
        self.summarizing = 0
        self.turns_meanwhile = 0
        self.turn_began = asyncio.Event()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        if request.messages[0].text.startswith("You keep the memory"):
            async for event in self._summarize(request):
                yield event
            return
        self.requests.append(request)
        self.turns_meanwhile += self.summarizing
        self.turn_began.set()
        last = request.messages[-1]
        number = numbers(request.messages)[-1]
        if last.role is Role.USER and number % 5 == 0:
            yield ToolCallEvent(ToolCall(f"call-{number}", "look", "{}"))
            yield Finished(FinishReason.TOOL_CALLS)
            return
        yield TextDelta(f"It is turn-{number}.")
        yield Finished(FinishReason.STOP)

    async def _summarize(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        self.summarizing += 1
        try:
            if not self.able.in_process:
                for _ in range(3):
                    self.turn_began.clear()
                    await self.turn_began.wait()
            told = " ".join(f"turn-{number}" for number in sorted(set(numbers(request.messages[1:]))))
            yield TextDelta(f"<summary>{told}</summary>")
            yield Finished(FinishReason.STOP)
        finally:
            self.summarizing -= 1


def numbers(messages: tuple[Message, ...]) -> list[int]:
    return [int(number) for message in messages for number in _NUMBER.findall(message.text)]


def user_turns(messages: tuple[Message, ...]) -> int:
    return sum(message.role is Role.USER for message in messages)


def check_whole(known: Conversation, upto: int) -> None:
    """Within the window, no tool pair torn, no turn forgotten."""
    assert user_turns(known.messages) <= WINDOW
    assert not pending_tool_calls(known.messages)
    calls = {call.id for message in known.messages for call in message.tool_calls}
    assert {message.tool_call_id for message in known.messages if message.role is Role.TOOL} == calls
    summary = [int(number) for number in _NUMBER.findall(known.summary)]
    kept = {*summary, *numbers(known.unsummarized), *numbers(known.messages)}
    assert kept == set(range(upto + 1))


@contextlib.asynccontextmanager
async def opened(kind: str) -> AsyncIterator[ConversationStore]:
    async with contextlib.AsyncExitStack() as stack:
        address = kind if kind == stores.MEMORY else (await stack.enter_async_context(redis_server())).address
        store = stores.create(address, 1000.0, 10)
        stack.push_async_callback(store.aclose)
        await store.open()
        yield store


@pytest.mark.parametrize("kind", [stores.MEMORY, pytest.param("redis", marks=needs_redis)])
@pytest.mark.parametrize("in_process", [False, True], ids=["api", "local"])
async def test_edge_27_200_turns_stay_in_the_window_and_none_waits_for_a_summary(kind: str, in_process: bool) -> None:
    async with opened(kind) as store:
        conversations = Conversations(store, chat_size=WINDOW, held_ttl_s=60.0, compact=True)
        model = Model(in_process=in_process)
        defaults = TurnDefaults("", 1, 0, 0.0, 3, False, 10_000, 4)
        turns = Turns(model, conversations, defaults)
        registry = CollectorRegistry()
        compactor = Compactor(model, conversations, turns.idle, CompactionMetrics(registry), timeout_s=60.0)
        ident = (await conversations.create(ConversationConfig(tools=(Tool("look", "around", "{}"),)))).id

        async def take(*messages: Message) -> FinishReason:
            async with contextlib.aclosing(turns.run(TurnRequest(messages, ident))) as events:
                *_, last = [event async for event in events]
            assert isinstance(last, Completed)
            return last.reason

        for number in range(TURNS):
            reason = await take(Message(Role.USER, (TextPart(f"turn-{number}"),)))
            if reason is FinishReason.TOOL_CALLS:
                await take(Message(Role.TOOL, (TextPart("seen"),), tool_call_id=f"call-{number}"))
            check_whole(await conversations.get(ident), number)
            if in_process and number % 3 == 0:
                await compactor.settled()  # the user speaks

        if not in_process:
            assert model.turns_meanwhile >= 3 * 10, "turns were answered while summaries were written"
        else:
            await compactor.settled()
        await compactor.aclose()
        known = await conversations.get(ident)
        check_whole(known, TURNS - 1)
        assert user_turns(known.messages) >= WINDOW // 2
        done = registry.get_sample_value("parley_llm_compaction_seconds_count", {"outcome": "done"}) or 0
        assert 10 <= done <= TURNS / (WINDOW // 2) + 1, "half a window at a time"
        assert user_turns(model.requests[-1].messages) <= WINDOW + 1
