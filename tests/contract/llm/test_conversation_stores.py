"""What every store of conversations does."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.common.errors import OverloadedError
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.conversation.memory import MemoryStore
from services.llm.conversation.store import ConversationStore
from services.llm.domain import Message, Role, TextPart


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[ConversationStore]:
    made = {"memory": MemoryStore}[request.param](100.0, 3, clock)
    yield made
    await made.aclose()


def conversation(ident: str) -> Conversation:
    return Conversation(ident, ConversationConfig(), 30)


async def test_what_was_created_is_read_back(store: ConversationStore) -> None:
    assert await store.create(conversation("a"))
    assert await store.get("a") == conversation("a")
    assert await store.get("b") is None


async def test_an_id_is_taken_once(store: ConversationStore) -> None:
    assert await store.create(conversation("a"))
    assert not await store.create(conversation("a"))


async def test_only_the_version_that_was_read_is_replaced(store: ConversationStore) -> None:
    await store.create(conversation("a"))
    read = await store.get("a")
    assert read is not None
    changed = replace(read, messages=(Message(Role.USER, (TextPart("hi"),)),))
    assert await store.replace(changed)
    assert not await store.replace(changed)
    stored = await store.get("a")
    assert stored is not None
    assert (stored.messages, stored.version) == (changed.messages, read.version + 1)


async def test_what_has_gone_is_not_replaced(store: ConversationStore) -> None:
    await store.create(conversation("a"))
    assert await store.delete("a")
    assert not await store.delete("a")
    assert not await store.replace(conversation("a"))
    assert await store.get("a") is None


async def test_what_is_not_used_expires_and_use_puts_that_off(store: ConversationStore, clock: Clock) -> None:
    for ident in "abc":
        await store.create(conversation(ident))
    clock.now = 60.0
    assert await store.get("a") is not None
    read = await store.get("b")
    assert read is not None
    assert await store.replace(read)
    clock.now = 100.0
    assert await store.get("c") is None
    assert await store.get("a") is not None
    clock.now = 161.0
    assert await store.get("b") is None
    assert await store.get("a") is not None


async def test_the_number_is_bounded_and_room_comes_back(store: ConversationStore, clock: Clock) -> None:
    for ident in "abc":
        await store.create(conversation(ident))
    clock.now = 30.0
    with pytest.raises(OverloadedError) as caught:
        await store.create(conversation("d"))
    assert caught.value.retry_after_s == 70.0
    clock.now = 100.0
    assert await store.create(conversation("d"))
