"""What every store of conversations does: one in memory, one on a real Redis server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from services.common.errors import ConversationBusyError, NotFoundError, OverloadedError
from services.llm.conversation.conversation import Conversation, ConversationConfig, HeldTurn, Outcome
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.conversation.redis_store import RedisStore
from services.llm.conversation.store import COMPACTION, TURN, ConversationStore
from services.llm.domain import ImagePart, Message, Role, TextPart, Tool, ToolCall
from tests.support.redis_server import RedisServer, missing, needs_redis, redis_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TTL_S = 100.0
"""On the test's clock: the Redis server's is fifty times as fast."""
_SPEED = 50


@dataclass
class Kept:
    """A store, the same one as another server sees it, and its time."""

    store: ConversationStore
    elsewhere: ConversationStore
    pass_time: Callable[[float], Awaitable[None]]
    speed: float


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RedisServer | None]:
    if missing:
        yield None
        return
    async with redis_server() as started:
        yield started


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def kept(kind: str, server: RedisServer | None) -> AsyncIterator[Kept]:
    if kind == "memory":
        clock = [0.0]

        async def pass_time(seconds: float) -> None:
            clock[0] += seconds

        memory = MemoryStore(TTL_S, 3, lambda: clock[0])
        yield Kept(memory, memory, pass_time, 1)
        await memory.aclose()
        return
    assert server is not None
    stores = [RedisStore(server.address, TTL_S / _SPEED, 3) for _ in range(2)]
    for store in stores:
        await store.open()
    yield Kept(stores[0], stores[1], lambda seconds: asyncio.sleep(seconds / _SPEED), _SPEED)
    for ident in "abcd":
        await stores[0].delete(ident)
    for store in stores:
        await store.aclose()


@pytest.fixture
def store(kept: Kept) -> ConversationStore:
    return kept.store


def conversation(ident: str) -> Conversation:
    return Conversation(ident, ConversationConfig(), 30)


def user(text: str) -> Message:
    return Message(Role.USER, (TextPart(text),))


FULL = Conversation(
    "a",
    ConversationConfig("Be brief", (Tool("weather", "of a city", "{}"),), 4, True),
    4,
    (
        Message(Role.SYSTEM, (TextPart("हिन्दी\u0000\n"),), id="m1", item_id="i1"),
        Message(Role.USER, (TextPart("look"), ImagePart(bytes(range(256)), media_type="image/png")), id="m2"),
        Message(Role.ASSISTANT, (), (ToolCall("c1", "weather", '{"city": "Oslo"}'),), id="m3"),
        Message(Role.TOOL, (TextPart(""),), tool_call_id="c1", id="m4"),
    ),
    (HeldTurn("r1", "m4", (user("and?"),), (Message(Role.ASSISTANT, (TextPart("well"),)),), 12.5, False, "i5"),),
    (("r0", Outcome.COMMITTED), ("r00", Outcome.DISCARDED)),
    1234.5,
    compact=True,
    summary="They met.",
    unsummarized=(user("old"),),
)


async def test_what_was_created_is_read_back_to_the_last_field(store: ConversationStore) -> None:
    assert await store.create(FULL)
    assert await store.get("a") == FULL
    assert await store.get("b") is None


async def test_an_id_is_taken_once(store: ConversationStore) -> None:
    assert await store.create(conversation("a"))
    assert not await store.create(replace(conversation("a"), created_at=1.0))


async def test_only_the_version_that_was_read_is_replaced(store: ConversationStore) -> None:
    await store.create(conversation("a"))
    read = await store.get("a")
    assert read is not None
    changed = replace(read, messages=(user("hi"),))
    assert await store.replace(changed)
    assert not await store.replace(changed)
    stored = await store.get("a")
    assert stored is not None
    assert (stored.messages, stored.version) == (changed.messages, read.version + 1)


async def test_edge_27_of_many_writers_at_once_one_wins_and_the_others_learn_it(kept: Kept) -> None:
    await kept.store.create(conversation("a"))
    read = await kept.elsewhere.get("a")
    assert read is not None
    writers = [kept.store, kept.elsewhere] * 5
    won = await asyncio.gather(*(w.replace(replace(read, messages=(user(str(n)),))) for n, w in enumerate(writers)))
    assert won.count(True) == 1
    stored = await kept.store.get("a")
    assert stored is not None
    assert stored.messages == (user(str(won.index(True))),)


async def test_what_has_gone_is_not_replaced(store: ConversationStore) -> None:
    await store.create(conversation("a"))
    assert await store.delete("a")
    assert not await store.delete("a")
    assert not await store.replace(conversation("a"))
    assert not await store.claim("a", TURN, "r", 10.0)
    assert await store.get("a") is None
    assert await store.get_for_turn("a", "r", 10.0) is None
    assert await store.create(conversation("a")), "a deleted id is free again, without claims on it"
    assert await store.holder("a", TURN) is None


async def test_one_response_at_a_time_has_the_turn(kept: Kept) -> None:
    await kept.store.create(conversation("a"))
    assert await kept.store.get_for_turn("a", "r1", 1000.0) == conversation("a")
    assert await kept.elsewhere.holder("a", TURN) == "r1"
    with pytest.raises(ConversationBusyError) as caught:
        await kept.elsewhere.get_for_turn("a", "r2", 1000.0)
    assert caught.value.retry_after_s is not None
    assert await kept.elsewhere.get("a") == conversation("a"), "reading is free"
    assert await kept.store.get_for_turn("a", "r1", 1000.0) == conversation("a"), "asking twice is as once"
    await kept.elsewhere.give_back("a", TURN, "r2")
    assert await kept.store.holder("a", TURN) == "r1", "nobody gives back what is another's"
    await kept.store.give_back("a", TURN, "r1")
    assert await kept.elsewhere.get_for_turn("a", "r2", 1000.0) == conversation("a")


async def test_the_last_write_of_a_turn_ends_its_claim(kept: Kept) -> None:
    await kept.store.create(conversation("a"))
    read = await kept.store.get_for_turn("a", "r1", 1000.0)
    assert read is not None
    assert await kept.store.replace(replace(read, messages=(user("hi"),)), ended="r1")
    assert await kept.elsewhere.get_for_turn("a", "r2", 1000.0) is not None


async def test_edge_27_a_claim_that_nobody_renews_is_free_and_its_turn_can_write_no_more(kept: Kept) -> None:
    await kept.store.create(conversation("a"))
    read = await kept.store.get_for_turn("a", "r1", 20.0 / kept.speed)
    assert read is not None
    await kept.pass_time(25.0)
    assert await kept.elsewhere.holder("a", TURN) is None
    assert await kept.elsewhere.get_for_turn("a", "r2", 1000.0) is not None
    with pytest.raises(ConversationBusyError):
        await kept.store.replace(replace(read, messages=(user("late"),)), ended="r1")
    assert await kept.store.get("a") == read


async def test_a_claim_is_kept_by_claiming_again_and_claims_are_apart(kept: Kept) -> None:
    await kept.store.create(conversation("a"))
    assert await kept.store.claim("a", COMPACTION, "s1", 40.0 / kept.speed)
    assert await kept.elsewhere.claim("a", TURN, "r1", 1000.0)
    assert not await kept.elsewhere.claim("a", COMPACTION, "s2", 1000.0)
    await kept.pass_time(25.0)
    assert await kept.store.claim("a", COMPACTION, "s1", 1000.0)
    await kept.pass_time(25.0)
    assert await kept.elsewhere.holder("a", COMPACTION) == "s1"


async def test_what_is_not_used_expires_and_use_puts_that_off(kept: Kept) -> None:
    store = kept.store
    for ident in "abc":
        await store.create(conversation(ident))
    await kept.pass_time(60.0)
    assert await store.get("a") is not None
    read = await store.get("b")
    assert read is not None
    assert await store.replace(read)
    await kept.pass_time(42.0)
    assert await store.get("c") is None
    assert await store.get("a") is not None
    await kept.pass_time(61.0)
    assert await store.get("b") is None
    assert await store.get("a") is not None


async def test_the_number_is_bounded_and_room_comes_back(kept: Kept) -> None:
    for ident in "abc":
        await kept.store.create(conversation(ident))
    with pytest.raises(OverloadedError) as caught:
        await kept.elsewhere.create(conversation("d"))
    assert caught.value.retry_after_s is not None
    assert 1.0 <= caught.value.retry_after_s <= TTL_S
    assert await kept.store.delete("b")
    assert await kept.elsewhere.create(conversation("d"))
    await kept.pass_time(101.0)
    for ident in "abc":
        assert await kept.store.create(conversation(ident)), "what has expired takes no room"


async def test_all_who_share_a_store_agree_on_the_time(kept: Kept) -> None:
    await kept.store.get("a")
    await kept.elsewhere.get("a")
    assert kept.store.now() == pytest.approx(kept.elsewhere.now(), abs=1.0)
    before = kept.store.now()
    await kept.pass_time(10.0)
    assert kept.store.now() > before


async def test_edge_27_servers_that_delete_and_append_at_once_lose_nothing_else(kept: Kept) -> None:
    here, there = (Conversations(store, chat_size=30, held_ttl_s=50.0) for store in (kept.store, kept.elsewhere))
    named = tuple(replace(user(str(n)), item_id=f"i{n}") for n in range(6))
    await here.create(ConversationConfig(), named, "a")
    deleting = (server.delete_messages("a", (f"i{n}",)) for n, server in enumerate([here, there] * 2))
    appending = (server.append("a", (user(text),)) for server, text in ((here, "x"), (there, "y")))
    await asyncio.gather(*deleting, *appending)
    left = [message.text for message in (await there.get("a")).messages]
    assert left[:2] == ["4", "5"]
    assert sorted(left[2:]) == ["x", "y"]
    with pytest.raises(NotFoundError) as refused:
        await there.delete_messages("a", ("i4", "i0"))
    assert refused.value.field == "item_ids[1]"
    assert len((await here.get("a")).messages) == 4, "all of them or none"
