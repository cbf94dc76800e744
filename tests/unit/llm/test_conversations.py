"""Turns on one conversation, held responses, and changes that meet."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.errors import (
    ConversationNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    OverloadedError,
    ToolOutputPendingError,
)
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.conversation.conversations import MAX_WAITING_TURNS, Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import Message, Role, TextPart, ToolCall

USER = Message(Role.USER, (TextPart("q"),))
CALL = ToolCall("call_1", "tool", "{}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def conversations(clock: Clock) -> AsyncIterator[Conversations]:
    store = MemoryStore(100.0, 100, clock)
    yield Conversations(store, chat_size=30, held_ttl_s=50.0)
    await store.aclose()


@pytest.fixture
async def ident(conversations: Conversations) -> str:
    return (await conversations.create(ConversationConfig())).id


def answer(text: str = "", *calls: ToolCall) -> tuple[Message, ...]:
    return (Message(Role.ASSISTANT, (TextPart(text),) if text else (), calls),)


async def take(conversations: Conversations, ident: str, response_id: str, text: str, *, held: bool = False) -> None:
    async with conversations.turn(ident, (USER,), response_id, held=held) as turn:
        await conversations.begin(turn, lambda: answer(text))
        await conversations.complete(turn)


async def texts(conversations: Conversations, ident: str) -> list[str]:
    return [message.text for message in (await conversations.get(ident)).messages]


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_messages_get_unique_ids(conversations: Conversations) -> None:
    known = await conversations.create(ConversationConfig(), (USER, USER))
    (added,) = await conversations.append(known.id, (USER,))
    ids = [message.id for message in (await conversations.get(known.id)).messages]
    assert len(set(ids)) == 3
    assert ids[-1] == added.id


async def test_an_id_that_is_taken_is_refused(conversations: Conversations) -> None:
    await conversations.create(ConversationConfig(), (), "mine")
    with pytest.raises(InvalidArgumentError) as caught:
        await conversations.create(ConversationConfig(), (), "mine")
    assert caught.value.field == "conversation_id"


async def test_what_is_unknown_or_deleted_is_not_found(conversations: Conversations, ident: str) -> None:
    await conversations.delete(ident)
    for attempt in (
        conversations.get(ident),
        conversations.delete(ident),
        conversations.append(ident, (USER,)),
        conversations.commit_response(ident, "r", None),
        conversations.discard_response(ident, "r"),
        take(conversations, ident, "r", "x"),
    ):
        with pytest.raises(ConversationNotFoundError) as caught:
            await attempt
        assert caught.value.field == "conversation_id"


async def test_a_turn_that_fails_or_is_cancelled_leaves_no_trace(conversations: Conversations, ident: str) -> None:
    before = await conversations.get(ident)

    async def fail() -> None:
        async with conversations.turn(ident, (USER,), "r", held=False) as turn:
            await conversations.begin(turn, lambda: answer("half"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    assert await conversations.get(ident) == before


async def test_edge_27_turns_on_one_conversation_run_one_after_another(
    conversations: Conversations, ident: str
) -> None:
    seen: list[int] = []

    async def one(number: int) -> None:
        async with conversations.turn(ident, (USER,), f"r{number}", held=False) as turn:
            seen.append(len(turn.conversation.messages))
            await conversations.begin(turn, lambda: answer(str(number)))
            await settle()
            await conversations.complete(turn)

    await asyncio.gather(*(one(number) for number in range(3)))
    assert seen == [0, 2, 4]


async def test_too_many_turns_waiting_on_one_conversation_are_refused(conversations: Conversations, ident: str) -> None:
    async with conversations.turn(ident, (USER,), "r", held=False):
        waiting = [
            asyncio.create_task(take(conversations, ident, f"r{number}", "x")) for number in range(MAX_WAITING_TURNS)
        ]
        await settle()
        with pytest.raises(OverloadedError):
            await take(conversations, ident, "one too many", "x")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await take(conversations, ident, "after", "fine")
    assert await texts(conversations, ident) == ["q", "fine"]


async def test_a_held_turn_can_be_settled_after_it_ended(conversations: Conversations, ident: str) -> None:
    await take(conversations, ident, "r", "One. Two.", held=True)
    assert await texts(conversations, ident) == []
    await conversations.commit_response(ident, "r", "One.")
    await conversations.commit_response(ident, "r", "One.")
    assert await texts(conversations, ident) == ["q", "One."]


async def test_edge_18_a_cancelled_held_turn_keeps_what_was_generated_for_the_commit(
    conversations: Conversations, ident: str
) -> None:
    async def run() -> None:
        async with conversations.turn(ident, (USER,), "r", held=True) as turn:
            await conversations.begin(turn, lambda: answer("**One.** Two"))
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await texts(conversations, ident) == []
    await conversations.commit_response(ident, "r", "One.")
    assert await texts(conversations, ident) == ["q", "**One.**"]


async def test_edge_18_a_held_turn_that_was_never_admitted_leaves_nothing_to_settle(
    conversations: Conversations, ident: str
) -> None:
    with pytest.raises(OverloadedError):
        async with conversations.turn(ident, (USER,), "r", held=True):
            raise OverloadedError("full")
    with pytest.raises(NotFoundError):
        await conversations.commit_response(ident, "r", None)


async def test_a_running_turn_can_be_committed_with_what_was_heard(conversations: Conversations, ident: str) -> None:
    async with conversations.turn(ident, (USER,), "r", held=True) as turn:
        generated = ["One."]
        await conversations.begin(turn, lambda: answer("".join(generated)))
        generated.append(" Two.")
        await conversations.commit_response(ident, "r", "One. T")
        generated.append(" Three.")
        await conversations.complete(turn)
    assert await texts(conversations, ident) == ["q", "One. T"]


async def test_committing_all_of_a_running_turn_waits_for_its_end(conversations: Conversations, ident: str) -> None:
    async with conversations.turn(ident, (USER,), "r", held=True) as turn:
        await conversations.begin(turn, lambda: answer("One. Two."))
        commit = asyncio.create_task(conversations.commit_response(ident, "r", None))
        await settle()
        assert not commit.done()
        await conversations.complete(turn)
    await commit
    assert await texts(conversations, ident) == ["q", "One. Two."]


async def test_a_turn_after_a_held_one_sees_only_what_was_committed(conversations: Conversations, ident: str) -> None:
    await take(conversations, ident, "r", "unheard", held=True)
    async with conversations.turn(ident, (USER,), "s", held=False) as turn:
        assert turn.conversation.messages == ()


async def test_edge_28_a_held_turn_expires(conversations: Conversations, ident: str, clock: Clock) -> None:
    await take(conversations, ident, "r", "x", held=True)
    clock.now = 51.0
    with pytest.raises(NotFoundError):
        await conversations.commit_response(ident, "r", None)


async def test_pending_tool_calls_stop_a_turn_until_their_outputs_come(
    conversations: Conversations, ident: str
) -> None:
    async with conversations.turn(ident, (USER,), "r", held=False) as turn:
        await conversations.begin(turn, lambda: answer("", CALL))
        await conversations.complete(turn)
    with pytest.raises(ToolOutputPendingError):
        await take(conversations, ident, "s", "x")
    output = Message(Role.TOOL, (TextPart("42"),), tool_call_id=CALL.id)
    async with conversations.turn(ident, (output,), "t", held=False) as turn:
        assert turn.asked[0].tool_call_id == CALL.id
    await conversations.append(ident, (output,))
    async with conversations.turn(ident, (), "u", held=False) as turn:
        assert [message.role for message in turn.conversation.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]


async def test_edge_13_a_tool_output_that_comes_before_the_turn_has_ended_waits_for_it(
    conversations: Conversations, ident: str
) -> None:
    output = Message(Role.TOOL, (TextPart("42"),), tool_call_id=CALL.id)
    async with conversations.turn(ident, (USER,), "r", held=False) as turn:
        await conversations.begin(turn, lambda: answer("", CALL))
        appending = asyncio.create_task(conversations.append(ident, (output,)))
        await settle()
        assert not appending.done()
        await conversations.complete(turn)
    (stored,) = await appending
    assert (await conversations.get(ident)).messages[-1] == stored
    (repeated,) = await conversations.append(ident, (output,))
    assert repeated == stored


async def test_there_must_be_something_to_answer(conversations: Conversations, ident: str) -> None:
    async with conversations.turn(ident, (), "opening", held=False):
        """An agent may speak first, in an empty conversation."""
    await take(conversations, ident, "r", "x")
    with pytest.raises(InvalidArgumentError) as caught:
        async with conversations.turn(ident, (), "s", held=False):
            pass
    assert caught.value.field == "messages"


async def test_edge_27_a_conversation_deleted_and_made_anew_during_a_turn_gets_nothing_of_it(
    conversations: Conversations,
) -> None:
    async def run(*, held: bool) -> None:
        async with conversations.turn("mine", (USER,), f"r{held}", held=held) as turn:
            await conversations.begin(turn, lambda: answer("secret"))
            await conversations.delete("mine")
            await conversations.create(ConversationConfig(), (), "mine")
            await conversations.complete(turn)

    await conversations.create(ConversationConfig(), (), "mine")
    for held in (False, True):
        with pytest.raises(ConversationNotFoundError):
            await run(held=held)
        known = await conversations.get("mine")
        assert (known.messages, known.held) == ((), ())


async def test_edge_27_a_conversation_deleted_during_a_turn_ends_it_as_not_found(conversations: Conversations) -> None:
    async def run(known: str, *, held: bool) -> None:
        async with conversations.turn(known, (USER,), f"r{held}", held=held) as turn:
            await conversations.begin(turn, lambda: answer("x"))
            await conversations.delete(known)
            await conversations.complete(turn)

    for held in (False, True):
        known = await conversations.create(ConversationConfig())
        with pytest.raises(ConversationNotFoundError):
            await run(known.id, held=held)


class SlowerStore(MemoryStore):
    """Somebody else appends between our read and our write, once."""

    other: Message | None = USER

    async def replace(self, conversation: Conversation, ended: str = "") -> bool:
        if self.other is not None:
            message, self.other = self.other, None
            known = await self.get(conversation.id)
            assert known is not None
            assert await super().replace(known.append((message,)))
        return await super().replace(conversation, ended)


async def test_edge_27_two_writers_lose_no_message() -> None:
    conversations = Conversations(SlowerStore(100.0, 10), chat_size=30, held_ttl_s=50.0)
    known = await conversations.create(ConversationConfig())
    await conversations.append(known.id, (Message(Role.USER, (TextPart("mine"),)),))
    assert await texts(conversations, known.id) == ["q", "mine"]


async def test_a_conversation_may_set_its_own_window(conversations: Conversations) -> None:
    known = await conversations.create(ConversationConfig(chat_size=1))
    for number in range(3):
        await take(conversations, known.id, str(number), str(number))
    assert await texts(conversations, known.id) == ["q", "2"]


class ForgetfulStore(MemoryStore):
    """Writes, but every first answer is lost on its way; asked again, it knows a newer version already."""

    lost = 0

    async def replace(self, conversation: Conversation, ended: str = "") -> bool:
        written = await super().replace(conversation, ended)
        self.lost += written
        return written and self.lost % 2 == 0


async def test_edge_27_a_write_whose_answer_was_lost_is_not_made_twice() -> None:
    store = ForgetfulStore(100.0, 10)
    conversations = Conversations(store, chat_size=30, held_ttl_s=50.0)
    ident = (await conversations.create(ConversationConfig())).id
    for number in range(3):
        await conversations.append(ident, (Message(Role.USER, (TextPart(f"mine {number}"),)),))
        await take(conversations, ident, f"r{number}", f"one {number}")
        await take(conversations, ident, f"held {number}", f"two {number}", held=True)
        await conversations.commit_response(ident, f"held {number}", None)
    expected = [[f"mine {number}", "q", f"one {number}", "q", f"two {number}"] for number in range(3)]
    assert await texts(conversations, ident) == [text for part in expected for text in part]
    assert store.lost > 10
