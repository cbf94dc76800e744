"""One session on two language model services: when a turn goes elsewhere, and that the history goes with it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest
from parley.common.v1 import chat_pb2

from orchestrator.domain import SessionConfig
from orchestrator.stages.failover import RETURN_AFTER_S, FailoverLanguageModel
from orchestrator.stages.kept_history import KEPT_MESSAGES
from orchestrator.stages.language_model import GenerationCompleted, GenerationEvent, GenerationStarted, History, Prompt
from services.common.errors import (
    ConversationNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    ParleyError,
    UnreachableError,
    UpstreamError,
    UpstreamTimeoutError,
)
from tests.support.llm_client import named, user

CONFIG = SessionConfig(llm_model="big")
DOWN = UnreachableError("is not reachable")


def said(messages: Any) -> list[str]:
    """Messages as "user: text"."""
    return [
        f"{chat_pb2.Role.Name(message.role).removeprefix('ROLE_').lower()}: {message.content[0].text}"
        for message in messages
    ]


@dataclass
class Service:
    """A language model service that keeps conversations, answers with its name, and fails as told."""

    name: str
    down: ParleyError | None = None
    dies_after: int | None = None
    comes_back: bool = False
    forgets_after: int | None = None
    slow: asyncio.Event | None = None
    store: dict[str, list[chat_pb2.Message]] = field(default_factory=dict)
    held: dict[str, tuple[chat_pb2.Message, ...]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    prefill_tokens: int = 0
    prefills: int = 0
    turns: int = 0
    closed: int = 0

    def _conversation(self, conversation_id: str) -> list[chat_pb2.Message]:
        if self.down is not None:
            raise self.down
        if conversation_id not in self.store:
            raise ConversationNotFoundError("no such conversation", field="session.conversation_id")
        return self.store[conversation_id]

    async def create_conversation(self, conversation_id: str, messages: tuple[chat_pb2.Message, ...] = ()) -> None:
        if self.down is not None:
            raise self.down
        if conversation_id in self.store:
            raise InvalidArgumentError("exists already", field="session.conversation_id")
        self.store[conversation_id] = list(messages)

    async def history(self, conversation_id: str) -> History:
        return History(tuple(self._conversation(conversation_id)))

    async def prefill(self, config: SessionConfig, conversation_id: str, words: str) -> int:
        self.prefills += 1
        return self.prefill_tokens

    async def append_messages(self, conversation_id: str, messages: tuple[chat_pb2.Message, ...]) -> None:
        self._conversation(conversation_id).extend(messages)

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        known = self._conversation(conversation_id)
        left = [message for message in known if message.item_id != item_id]
        if len(left) == len(known):
            raise NotFoundError("no such item", field="item_ids[0]")
        known[:] = left

    async def generate(self, config: SessionConfig, prompt: Prompt) -> AsyncGenerator[GenerationEvent, None]:
        if prompt.conversation_id:
            self._conversation(prompt.conversation_id)
        elif self.down is not None:
            raise self.down
        self.models.append(config.llm_model)
        self.turns += 1
        response_id = f"{self.name} {self.turns}"
        self.held[response_id] = prompt.messages
        try:
            yield GenerationStarted(response_id)
            if self.slow is not None:
                await self.slow.wait()
            for number, word in enumerate((self.name, " speaks")):
                if number == self.forgets_after:
                    self.forgets_after = None
                    self.forget()
                    self._conversation(prompt.conversation_id)
                if number == self.dies_after:
                    if self.comes_back:
                        self.dies_after = None
                    else:
                        self.down = DOWN
                    raise DOWN
                yield word
            yield GenerationCompleted(False, None)
        finally:
            self.closed += 1

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        text = f"{self.name} speaks" if heard_text is None else heard_text
        answer = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[chat_pb2.ContentPart(text=text)])
        self._conversation(conversation_id).extend((*self.held.pop(response_id), answer))

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        del self.held[response_id]

    def forget(self) -> None:
        """As after a restart."""
        self.store.clear()
        self.held.clear()


class Session:
    """A session on services, its clock in the test's hand."""

    def __init__(self, first: Service, fallback: Service | None) -> None:
        self.now = 0.0
        models: list[Any] = [first, fallback]
        self.llm = FailoverLanguageModel(models[0], models[1], 0.05, lambda: self.now)
        self.conversation_id = ""

    async def open(self) -> "Session":
        self.conversation_id = "conversation"
        await self.llm.create_conversation(self.conversation_id)
        return self

    async def turn(self, text: str, heard: str | None = None) -> str:
        """One turn, committed; returns what was answered."""
        response_id, answer = "", ""
        try:
            async for event in self.llm.generate(CONFIG, Prompt((user(text),), self.conversation_id)):
                if isinstance(event, GenerationStarted):
                    response_id = event.response_id
                elif isinstance(event, str):
                    answer += event
        finally:
            if response_id:
                await self.llm.commit_response(self.conversation_id, response_id, heard)
        return answer


async def test_what_a_failure_kept_here_is_in_the_history_when_the_session_ends() -> None:
    service = Service("first")
    model: Any = service
    llm = FailoverLanguageModel(model, None, 1.0)
    await llm.create_conversation("c")
    async for event in llm.generate(CONFIG, Prompt((user("one"),), "c")):
        if isinstance(event, GenerationStarted):
            response_id = event.response_id
    service.down = DOWN
    await llm.commit_response("c", response_id, None)
    assert service.store["c"] == []
    service.down = None
    await llm.settle()
    assert said(service.store["c"]) == ["user: one", "assistant: first speaks"]
    service.store["c"].append(user("two"))  # by another session
    service_has = list(service.store["c"])
    await llm.settle()
    assert service.store["c"] == service_has


async def test_while_the_first_service_answers_the_fallback_hears_nothing() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    assert [await session.turn("one"), await session.turn("two")] == ["first speaks"] * 2
    assert said(first.store[session.conversation_id]) == [
        "user: one",
        "assistant: first speaks",
        "user: two",
        "assistant: first speaks",
    ]
    assert fallback.store == {}


async def test_a_turn_that_the_first_cannot_begin_goes_to_the_fallback_with_the_whole_history() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    await session.turn("one", heard="first")
    first.down = DOWN
    assert await session.turn("two") == "fallback speaks"
    history = ["user: one", "assistant: first", "user: two", "assistant: fallback speaks"]
    assert said(fallback.store[session.conversation_id]) == history
    assert fallback.models == [""], "the name of a model of the first service means nothing to the fallback"


async def test_the_first_is_tried_again_after_a_while_and_gets_what_it_missed() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    await session.turn("one")
    first.down = DOWN
    await session.turn("two")
    first.down = None
    assert await session.turn("three") == "fallback speaks"
    session.now += RETURN_AFTER_S
    assert await session.turn("four") == "first speaks"
    texts = ["user: one", "user: two", "user: three", "user: four"]
    assert [text for text in said(first.store[session.conversation_id]) if text.startswith("user")] == texts
    assert len(first.store[session.conversation_id]) == 8


async def test_a_service_that_is_slow_to_its_first_token_is_left_for_the_fallback() -> None:
    first, fallback = Service("first", slow=asyncio.Event()), Service("fallback")
    session = await Session(first, fallback).open()
    assert await session.turn("one") == "fallback speaks"
    assert first.closed == 1, "its work is stopped"
    assert said(fallback.store[session.conversation_id]) == ["user: one", "assistant: fallback speaks"]


async def test_without_a_fallback_a_slow_answer_is_waited_for() -> None:
    slow = asyncio.Event()
    session = await Session(Service("first", slow=slow), None).open()
    turn = asyncio.create_task(session.turn("one"))
    await asyncio.sleep(0.1)
    slow.set()
    assert await turn == "first speaks"


async def test_an_answer_that_is_lost_before_its_first_word_is_asked_for_again() -> None:
    service = Service("it", dies_after=0, comes_back=True)
    session = await Session(service, None).open()
    assert await session.turn("one") == "it speaks"
    assert service.turns == 2
    assert said(service.store[session.conversation_id]) == ["user: one", "assistant: it speaks"]


async def test_an_answer_that_has_begun_is_not_begun_again_elsewhere() -> None:
    first, fallback = Service("first", dies_after=1), Service("fallback")
    session = await Session(first, fallback).open()
    with pytest.raises(UpstreamError):
        await session.turn("one", heard="first")
    assert fallback.turns == 0
    assert await session.turn("two") == "fallback speaks"
    history = ["user: one", "assistant: first", "user: two", "assistant: fallback speaks"]
    assert said(fallback.store[session.conversation_id]) == history, "what was heard before it died is not lost"


async def test_a_service_that_has_forgotten_the_conversation_is_given_it_again() -> None:
    first = Service("first")
    session = await Session(first, None).open()
    await session.turn("one")
    first.forget()
    assert await session.turn("two") == "first speaks"
    assert len(first.store[session.conversation_id]) == 4


async def test_a_conversation_that_is_lost_before_the_first_word_is_given_again_and_the_turn_asked_for_again() -> None:
    service = Service("it", forgets_after=0)
    session = await Session(service, None).open()
    assert await session.turn("one") == "it speaks"
    assert said(service.store[session.conversation_id]) == ["user: one", "assistant: it speaks"]


async def test_a_conversation_that_is_lost_while_it_is_answered_is_the_services_fault_and_kept() -> None:
    service = Service("it", forgets_after=1)
    session = await Session(service, None).open()
    with pytest.raises(UpstreamError, match="the language model service has lost the conversation"):
        await session.turn("one", heard="it")
    assert await session.turn("two") == "it speaks"
    history = ["user: one", "assistant: it", "user: two", "assistant: it speaks"]
    assert said(service.store[session.conversation_id]) == history


async def test_services_that_share_a_store_get_no_message_twice() -> None:
    first, fallback = Service("first"), Service("fallback")
    fallback.store = first.store
    session = await Session(first, fallback).open()
    await session.turn("one")
    first.down = DOWN
    await session.turn("two")
    assert said(first.store[session.conversation_id]) == [
        "user: one",
        "assistant: first speaks",
        "user: two",
        "assistant: fallback speaks",
    ]


async def test_where_all_fail_the_last_error_is_the_turns() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    first.down, fallback.down = DOWN, UpstreamTimeoutError("did not answer in time")
    with pytest.raises(UpstreamTimeoutError):
        await session.turn("one")
    first.down = fallback.down = None
    session.now += RETURN_AFTER_S
    assert await session.turn("two") == "first speaks"


async def test_a_session_opens_on_the_fallback_where_the_first_is_down() -> None:
    first, fallback = Service("first", down=DOWN), Service("fallback")
    session = await Session(first, fallback).open()
    assert await session.turn("one") == "fallback speaks"
    first.down = None
    session.now += RETURN_AFTER_S
    assert await session.turn("two") == "first speaks"
    assert said(first.store[session.conversation_id])[:2] == ["user: one", "assistant: fallback speaks"]


async def test_a_wrong_request_is_no_reason_to_go_elsewhere() -> None:
    first, fallback = Service("first", down=InvalidArgumentError("no", field="session.sampling")), Service("fallback")
    with pytest.raises(InvalidArgumentError):
        await Session(first, fallback).open()


async def test_a_resumed_conversation_is_known_from_its_beginning() -> None:
    first, fallback = Service("first"), Service("fallback")
    first.store["known"] = [user("zero")]
    session = Session(first, fallback)
    await session.llm.open_conversation("known")
    session.conversation_id = "known"
    first.down = DOWN
    await session.turn("one")
    assert said(fallback.store["known"])[:2] == ["user: zero", "user: one"]
    with pytest.raises(ConversationNotFoundError):
        await Session(Service("first"), None).llm.open_conversation("unknown")


async def test_a_discarded_response_leaves_no_trace() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    events = session.llm.generate(CONFIG, Prompt((user("one"),), session.conversation_id))
    started = await anext(events)
    assert isinstance(started, GenerationStarted)
    await events.aclose()
    await session.llm.discard_response(session.conversation_id, started.response_id)
    assert first.held == {}
    first.down = DOWN
    await session.turn("two")
    assert said(fallback.store[session.conversation_id]) == ["user: two", "assistant: fallback speaks"]


async def test_only_so_much_of_the_history_is_kept() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    for number in range(KEPT_MESSAGES):
        await session.turn(str(number))
    first.down = DOWN
    await session.turn("last")
    kept = said(fallback.store[session.conversation_id])
    assert len(kept) == KEPT_MESSAGES + 2
    assert kept[0] == f"user: {KEPT_MESSAGES // 2}"


async def test_a_stateless_turn_goes_elsewhere_too() -> None:
    first, fallback = Service("first", down=DOWN), Service("fallback")
    session = Session(first, fallback)
    assert await session.turn("one") == "fallback speaks"


@pytest.mark.parametrize(("tokens", "asked"), [(0, 1), (20, 3)])
async def test_a_service_that_does_not_prefill_is_not_asked_again(tokens: int, asked: int) -> None:
    first = Service("first", prefill_tokens=tokens)
    session = await Session(first, None).open()
    assert [await session.llm.prefill(SessionConfig(), session.conversation_id) for _ in range(3)] == [tokens] * 3
    assert first.prefills == asked


async def test_what_is_deleted_while_a_service_is_away_is_deleted_there_before_its_next_turn() -> None:
    first, fallback = Service("first"), Service("fallback")
    session = await Session(first, fallback).open()
    for text in ("one", "two"):
        await session.llm.append_message(session.conversation_id, named(text))
    first.down = DOWN
    await session.turn("three")
    await session.llm.delete_item(session.conversation_id, "i_one")
    assert said(fallback.store[session.conversation_id])[:2] == ["user: two", "user: three"]
    first.down = None
    session.now += RETURN_AFTER_S
    assert await session.turn("four") == "first speaks"
    assert said(first.store[session.conversation_id])[:4] == [
        "user: two",
        "user: three",
        "assistant: fallback speaks",
        "user: four",
    ]


async def test_a_service_that_forgot_everything_is_not_given_what_was_deleted() -> None:
    service = Service("first")
    session = await Session(service, None).open()
    for text in ("one", "two"):
        await session.llm.append_message(session.conversation_id, named(text))
    await session.llm.delete_item(session.conversation_id, "i_one")
    with pytest.raises(NotFoundError):
        await session.llm.delete_item(session.conversation_id, "i_one")
    service.forget()
    await session.turn("three")
    assert said(service.store[session.conversation_id]) == ["user: two", "user: three", "assistant: first speaks"]
