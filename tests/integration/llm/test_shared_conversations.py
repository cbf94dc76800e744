"""Two servers' conversations on one real Redis server: turns, held responses, appends and summaries that meet."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from services.common.errors import ConversationBusyError, ConversationNotFoundError, NotFoundError
from services.llm.compactor import Compactor
from services.llm.conversation import turn_claim
from services.llm.conversation.conversation import ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.ids import new_id
from services.llm.conversation.redis_store import RedisStore
from services.llm.conversation.running_turn import RunningTurn
from services.llm.conversation.store import COMPACTION, TURN
from services.llm.domain import Message, Role, TextDelta, TextPart, ToolCall
from services.llm.idle import Idle
from services.llm.metrics import CompactionMetrics
from tests.support.redis_server import RedisServer, needs_redis, redis_server
from tests.support.scripted_backend import STOP, ScriptedBackend

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_redis]

CALL = ToolCall("call_1", "tool", "{}")


class Server:
    """What one server knows of conversations."""

    def __init__(self, address: str) -> None:
        self.store = RedisStore(address, 100.0, 1000)
        self.conversations = Conversations(self.store, chat_size=4, held_ttl_s=50.0, compact=True)

    async def create(self) -> str:
        return (await self.conversations.create(ConversationConfig())).id

    async def append(self, ident: str, *messages: Message) -> None:
        await self.conversations.append(ident, messages)

    async def texts(self, ident: str) -> list[str]:
        return [message.text for message in (await self.conversations.get(ident)).messages]

    async def take(self, ident: str, text: str, response_id: str, *, held: bool = False) -> None:
        """A turn from its beginning to its end."""
        async with self.conversations.turn(ident, (user(text),), response_id, held=held) as turn:
            await self.conversations.begin(turn, lambda: answer(f"re {text}"))
            await self.conversations.complete(turn)


class Generation:
    """A turn on a server that goes on until it is told to end."""

    def __init__(self, server: Server, ident: str, response_id: str, *, held: bool) -> None:
        self.said = "One."
        self.calls: tuple[ToolCall, ...] = ()
        self.turn: RunningTurn | None = None
        self._end = asyncio.Event()
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._run(server.conversations, ident, response_id, held))

    async def begun(self) -> None:
        await self._begun.wait()

    async def end(self) -> None:
        self._end.set()
        await self._task

    async def cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def die(self) -> None:
        """As when its process is killed: from now on it renews nothing."""
        assert self.turn is not None
        assert self.turn.claim._renewing is not None
        self.turn.claim._renewing.cancel()

    async def _run(self, conversations: Conversations, ident: str, response_id: str, held: bool) -> None:
        async with conversations.turn(ident, (user("q"),), response_id, held=held) as turn:
            self.turn = turn
            await conversations.begin(turn, lambda: answer(self.said, *self.calls) if self.said else ())
            self._begun.set()
            await self._end.wait()
            await conversations.complete(turn)


def user(text: str) -> Message:
    return Message(Role.USER, (TextPart(text),))


def answer(text: str, *calls: ToolCall) -> tuple[Message, ...]:
    return (Message(Role.ASSISTANT, (TextPart(text),), calls),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def servers(redis: RedisServer) -> AsyncIterator[tuple[Server, Server]]:
    one, other = Server(redis.address), Server(redis.address)
    for server in (one, other):
        await server.store.open()
    yield one, other
    for server in (one, other):
        await server.store.aclose()


Generate = Callable[..., Generation]


@pytest_asyncio.fixture(loop_scope="module")
async def generate() -> AsyncIterator[Generate]:
    """Begins turns, and ends what is left of them."""
    begun: list[Generation] = []

    def begin(server: Server, ident: str, response_id: str, *, held: bool = False) -> Generation:
        begun.append(Generation(server, ident, response_id, held=held))
        return begun[-1]

    yield begin
    for generation in begun:
        await generation.cancel()


async def test_a_conversation_moves_between_servers(servers: tuple[Server, Server]) -> None:
    one, other = servers
    ident = await one.create()
    await one.take(ident, "a", "r1")
    await other.take(ident, "b", "r2")
    await one.take(ident, "c", "r3")
    assert await other.texts(ident) == ["a", "re a", "b", "re b", "c", "re c"]


async def test_edge_27_a_turn_that_meets_one_elsewhere_is_told_to_come_again(
    servers: tuple[Server, Server], generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_claim, "WAIT_S", 0.05)
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1")
    await running.begun()
    with pytest.raises(ConversationBusyError) as caught:
        await other.take(ident, "b", "r2")
    assert caught.value.retry_after_s == 1.0
    await running.end()
    await other.take(ident, "c", "r3")
    assert await one.texts(ident) == ["q", "One.", "c", "re c"]


async def test_edge_27_a_turn_waits_for_one_elsewhere_that_is_just_ending(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1")
    await running.begun()
    following = asyncio.create_task(other.take(ident, "b", "r2"))
    await running.cancel()
    await following
    assert await one.texts(ident) == ["b", "re b"]


async def test_edge_18_a_turn_cancelled_while_it_begins_leaves_no_claim(servers: tuple[Server, Server]) -> None:
    one, other = servers
    ident = await one.create()
    for steps in range(12):
        task = asyncio.create_task(one.take(ident, "a", f"r{steps}", held=True))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await other.store.holder(ident, TURN) is None


async def test_edge_27_a_turn_whose_server_died_holds_up_others_only_until_its_claim_expires(
    servers: tuple[Server, Server], generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_claim, "CLAIM_S", 0.3)
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1")
    await running.begun()
    running.die()
    await other.take(ident, "b", "r2")
    second = generate(other, ident, "r3")
    await second.begun()
    with pytest.raises(ConversationBusyError):
        await running.end()
    assert await other.texts(ident) == ["b", "re b"], "what came too late was not written"
    await second.end()
    assert await one.texts(ident) == ["b", "re b", "q", "One."]


async def test_a_turn_that_takes_long_keeps_its_claim(
    servers: tuple[Server, Server], generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_claim, "CLAIM_S", 0.6)
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1")
    await running.begun()
    for _ in range(12):
        await asyncio.sleep(0.1)
        assert await other.store.holder(ident, TURN) == "r1"
    await running.end()


async def test_edge_28_a_held_turn_is_settled_on_another_server(servers: tuple[Server, Server]) -> None:
    one, other = servers
    ident = await one.create()
    await one.take(ident, "a", "r1", held=True)
    await other.conversations.commit_response(ident, "r1", "re")
    await one.conversations.commit_response(ident, "r1", None)
    await one.take(ident, "b", "r2", held=True)
    await other.conversations.discard_response(ident, "r2")
    assert await one.texts(ident) == ["a", "re"]
    with pytest.raises(NotFoundError):
        await other.conversations.commit_response(ident, "r3", None)


async def test_edge_28_a_cancelled_held_turn_is_committed_elsewhere_with_what_was_generated(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1", held=True)
    await running.begun()
    running.said = "**One.** Two."
    commit = asyncio.create_task(other.conversations.commit_response(ident, "r1", "One."))
    await running.cancel()
    await commit
    assert await other.texts(ident) == ["q", "**One.**"]


async def test_a_held_turn_discarded_elsewhere_while_it_runs_leaves_no_trace_and_no_claim(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1", held=True)
    await running.begun()
    await other.conversations.discard_response(ident, "r1")
    await running.end()
    assert await other.store.holder(ident, TURN) is None
    assert await other.texts(ident) == []


async def test_a_held_turn_that_another_server_generates_is_committed_once_it_has_ended(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1", held=True)
    await running.begun()
    commit = asyncio.create_task(other.conversations.commit_response(ident, "r1", None))
    running.said = "One. Two."
    await asyncio.sleep(0.05)
    assert not commit.done()
    await running.end()
    await commit
    assert await other.texts(ident) == ["q", "One. Two."]


async def test_a_held_turn_whose_server_died_is_committed_with_what_was_heard(
    servers: tuple[Server, Server], generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_claim, "CLAIM_S", 0.3)
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1", held=True)
    running.said = ""
    await running.begun()
    running.die()
    await other.conversations.commit_response(ident, "r1", "One")
    assert await other.texts(ident) == ["q", "One"]


async def test_edge_13_a_tool_output_on_another_server_waits_for_the_turn_that_calls(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    ident = await one.create()
    running = generate(one, ident, "r1")
    await running.begun()
    running.calls = (CALL,)
    output = Message(Role.TOOL, (TextPart("42"),), tool_call_id=CALL.id)
    appending = asyncio.create_task(other.append(ident, output))
    await asyncio.sleep(0.05)
    assert not appending.done()
    await running.end()
    await appending
    assert (await one.conversations.get(ident)).pending_tool_call_ids == ()
    with pytest.raises(NotFoundError):
        await other.append(ident, Message(Role.TOOL, (TextPart("42"),), tool_call_id="unknown"))


async def test_edge_27_messages_from_two_servers_at_once_are_never_lost(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    known = await one.conversations.create(ConversationConfig(chat_size=1000))
    running = generate(one, known.id, "r1")
    await running.begun()
    texts = [f"{number}" for number in range(30)]
    writers = [server.append(known.id, user(f"{text}{n}")) for text in texts for n, server in enumerate(servers)]
    await asyncio.gather(*writers)
    await running.end()
    assert sorted(await other.texts(known.id)) == sorted(
        [f"{text}{n}" for text in texts for n in (0, 1)] + ["q", "One."]
    )


async def test_edge_27_a_conversation_deleted_elsewhere_ends_its_turn_as_not_found(
    servers: tuple[Server, Server], generate: Generate
) -> None:
    one, other = servers
    for held in (False, True):
        ident = await one.create()
        running = generate(one, ident, "r1", held=held)
        await running.begun()
        await other.conversations.delete(ident)
        with pytest.raises(ConversationNotFoundError):
            await running.end()


async def test_one_server_summarizes_while_the_other_adds_and_takes_turns(servers: tuple[Server, Server]) -> None:
    one, other = servers
    gate, registry = asyncio.Event(), CollectorRegistry()
    backend = ScriptedBackend()
    backend.script = [gate, TextDelta("<summary>They talked.</summary>"), STOP]
    metrics = CompactionMetrics(registry)
    compactors = [Compactor(backend, s.conversations, Idle(9), metrics, timeout_s=30.0) for s in servers]
    async with contextlib.AsyncExitStack() as stack:
        for compactor in compactors:
            stack.push_async_callback(compactor.aclose)
        ident = await one.create()
        for number in range(4):
            await one.take(ident, str(number), new_id("resp"))
        while await one.store.holder(ident, COMPACTION) is None:
            await asyncio.sleep(0.01)
        await other.take(ident, "4", new_id("resp"))
        await compactors[1].settled()
        assert registry.get_sample_value("parley_llm_compaction_seconds_count", {"outcome": "elsewhere"}) == 1
        gate.set()
        await compactors[0].settled()
    known = await other.conversations.get(ident)
    assert (known.summary, known.unsummarized) == ("They talked.", ())
    assert await other.texts(ident) == ["2", "re 2", "3", "re 3", "4", "re 4"]


async def test_edge_27_whatever_two_servers_do_at_once_nothing_acknowledged_is_lost_and_nothing_else_is_kept(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_claim, "WAIT_S", 0.2)
    chance = random.Random(7)
    known = await servers[0].conversations.create(ConversationConfig(chat_size=10_000))
    kept: list[str] = []
    unsure: list[str] = []

    async def cancelled(text: str, server: Server, *, held: bool) -> None:
        """A turn cut off anywhere between its beginning and its end; in its last moment it may be there even so."""
        task = asyncio.create_task(server.take(known.id, text, f"r {text}", held=held))
        await asyncio.sleep(chance.random() * 0.01)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not held:
            (unsure if result is not None else kept).extend((text, f"re {text}"))

    async def settled(text: str, server: Server, other: Server) -> None:
        await server.take(known.id, text, f"r {text}", held=True)
        if chance.random() < 0.5:
            await other.conversations.discard_response(known.id, f"r {text}")
            return
        await other.conversations.commit_response(known.id, f"r {text}", None)
        kept.extend((text, f"re {text}"))

    async def work(name: int) -> None:
        for number in range(12):
            text = f"{name}.{number}"
            server, other = chance.sample(servers, 2)
            with contextlib.suppress(ConversationBusyError):
                match chance.randrange(4):
                    case 0:
                        await server.append(known.id, user(text))
                        kept.append(text)
                    case 1:
                        await server.take(known.id, text, f"r {text}")
                        kept.extend((text, f"re {text}"))
                    case 2:
                        await settled(text, server, other)
                    case _:
                        await cancelled(text, server, held=chance.random() < 0.5)

    await asyncio.gather(*(work(name) for name in range(6)))
    texts = await servers[1].texts(known.id)
    for text, answered in zip(unsure[::2], unsure[1::2], strict=True):
        assert (text in texts) is (answered in texts), "whole or not at all"
    assert sorted(texts) == sorted(kept + [text for text in unsure if text in texts])
    assert await servers[0].store.holder(known.id, TURN) is None
