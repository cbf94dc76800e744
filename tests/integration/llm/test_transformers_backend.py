"""The transformers backend in this process, on the embedded model in float32: text in, text out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
import torch

from services.common.errors import ContextLengthError
from services.llm.backends.batching import packing
from services.llm.backends.transformers import TransformersBackend
from services.llm.conversation.conversation import ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import (
    Admitted,
    Completed,
    Finished,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    TurnRequest,
    Usage,
)
from services.llm.settings import LlmSettings
from services.llm.turns import TurnDefaults, Turns
from services.llm.weights import EMBEDDED

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

SYSTEM = "You are a helpful assistant who answers in one short sentence."
DEFAULTS = TurnDefaults(
    instructions="",
    first_batch_sentences=1,
    first_segment_min_chars=0,
    first_segment_deadline_s=0.0,
    batch_sentences=1,
    language_prompt=False,
    max_input_chars=10_000,
    max_waiting=1,
)


def settings(**values: object) -> LlmSettings:
    """Those of the embedded model, on one thread."""
    return LlmSettings.model_validate(
        {"llm_backend": "transformers", "model_name": EMBEDDED, "llm_device": "cpu", "llm_threads": 1, **values}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[TransformersBackend]:
    made = TransformersBackend(settings())
    await made.load()
    try:
        yield made
    finally:
        await made.aclose()


@dataclass
class Heard:
    """An answer, and how it came."""

    text: str = ""
    finished: Finished | None = None
    events: list[object] = field(default_factory=list)

    @property
    def reused(self) -> int:
        """Tokens of the context that were there already."""
        assert self.finished is not None
        assert self.finished.usage is not None
        return self.finished.usage.cached_input_tokens or 0

    @property
    def context(self) -> int:
        """Tokens of the context."""
        assert self.finished is not None
        assert self.finished.usage is not None
        return self.finished.usage.input_tokens


def request(*texts: str, limit: int = 24, **sampling: object) -> GenerationRequest:
    """A context of a system message and then user and assistant in turn."""
    roles = [Role.SYSTEM, *([Role.USER, Role.ASSISTANT] * len(texts))]
    messages = tuple(Message(role, (TextPart(text),)) for role, text in zip(roles, texts, strict=False))
    return GenerationRequest(messages, Sampling(max_output_tokens=limit, **sampling))  # type: ignore[arg-type]


async def ask(backend: TransformersBackend, asked: GenerationRequest) -> Heard:
    """The whole answer."""
    heard = Heard()
    async with aclosing(backend.generate(asked)) as events:
        async for event in events:
            heard.events.append(event)
            if isinstance(event, TextDelta):
                heard.text += event.text
            elif isinstance(event, Finished):
                heard.finished = event
    return heard


async def test_warm_cold_and_in_a_batch_are_the_same_text(backend: TransformersBackend) -> None:
    asked = [request(SYSTEM, f"Tell me about {what}.") for what in ("Paris", "the sea", "tea", "a dog")]
    cold = [await ask(backend, one) for one in asked]
    together = await asyncio.gather(*(ask(backend, one) for one in asked))
    assert [heard.text for heard in together] == [heard.text for heard in cold]
    assert all(heard.reused == heard.context - 1 for heard in together)
    assert all(isinstance(heard.events[0], Admitted) for heard in cold)


async def test_a_turn_reads_only_what_is_new(backend: TransformersBackend) -> None:
    first = await ask(backend, request(SYSTEM, "What is the capital of Italy?"))
    second = await ask(backend, request(SYSTEM, "What is the capital of Italy?", first.text, "And of Spain?"))
    assert second.reused >= first.context
    assert second.context - second.reused < 20


async def test_a_context_made_ready_is_all_there_but_for_the_users_last_words(backend: TransformersBackend) -> None:
    texts = (SYSTEM, "I have a question about cheese.", "Go on, then.")
    assert await backend.prefill(request(*texts)) > 0
    asked = await ask(backend, request(*texts, "Is it old?"))
    # Left to read: the words, the end of the turn, and the head of the answer.
    assert asked.context - asked.reused <= 10
    await backend.prefill(request(*texts, "Which cheese is made"))
    other = await ask(backend, request(*texts, "Which cheese is made in the mountains?"))
    assert other.context - other.reused <= 12


async def test_what_stands_before_the_next_words_is_read_while_the_user_listens(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = asyncio.Event()
    prefill = backend.prefill

    async def watched(request: GenerationRequest) -> int:
        tokens = await prefill(request)
        read.set()
        return tokens

    monkeypatch.setattr(backend, "prefill", watched)
    conversations = Conversations(MemoryStore(100.0, 10), chat_size=30, held_ttl_s=50.0)
    turns = Turns(backend, conversations, DEFAULTS)
    ident = (await conversations.create(ConversationConfig(SYSTEM))).id

    async def said(text: str) -> Usage:
        asked = TurnRequest((Message(Role.USER, (TextPart(text),)),), ident, sampling=Sampling(max_output_tokens=24))
        async with aclosing(turns.run(asked)) as events:
            completed = [event async for event in events][-1]
        assert isinstance(completed, Completed)
        assert completed.usage is not None
        return completed.usage

    first = await said("What is the capital of Portugal?")
    await asyncio.wait_for(read.wait(), 30)
    second = await said("And of Norway?")
    assert second.cached_input_tokens is not None
    # The answer's last token, its end and the head of the user's turn are there, beside all that was read and written.
    assert second.cached_input_tokens > first.input_tokens + first.output_tokens
    # Left: the words, the end of the turn, and the head of the answer.
    assert second.input_tokens - second.cached_input_tokens <= 10


async def test_a_stop_string_ends_the_answer_and_its_sequence(backend: TransformersBackend) -> None:
    asked = request(SYSTEM, "Count from one to ten in digits.", limit=60)
    whole = await ask(backend, asked)
    stop = whole.text[8:14]
    cut = await ask(backend, request(SYSTEM, "Count from one to ten in digits.", limit=60, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finished is not None
    assert cut.finished.reason is FinishReason.STOP
    assert backend._batched is not None
    async with asyncio.timeout(10):
        while backend._batched.working:
            await asyncio.sleep(0)


async def test_edge_18_leaving_an_answer_takes_it_out_of_the_batch(backend: TransformersBackend) -> None:
    async with aclosing(backend.generate(request(SYSTEM, "Tell me a long story.", limit=2000))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
    assert backend._batched is not None
    async with asyncio.timeout(10):
        while backend._batched.working:
            await asyncio.sleep(0)
    assert (await ask(backend, request(SYSTEM, "Say hello.", limit=4))).finished is not None


async def test_edge_24_a_context_that_does_not_fit_is_told_before_it_is_admitted(backend: TransformersBackend) -> None:
    with pytest.raises(ContextLengthError):
        await ask(backend, request(SYSTEM, "word " * 9000))


async def test_a_model_that_cannot_be_batched_answers_the_same_one_at_a_time(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(SYSTEM, "What is the capital of Italy?")
    monkeypatch.setattr(packing, "can_pack", lambda model: False)
    single = TransformersBackend(settings())
    await single.load()
    try:
        assert single.capabilities.parallel == 1
        assert (await ask(single, asked)).text == (await ask(backend, asked)).text
        assert await single.prefill(asked) == 0
    finally:
        await single.aclose()


async def test_a_llama_that_computes_something_else_goes_as_it_is(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(SYSTEM, "What is the capital of Italy?")
    expected = await ask(backend, asked)
    real = packing.LlamaForward.forward
    monkeypatch.setattr(
        packing.LlamaForward,
        "forward",
        lambda *args: -torch.ones(1) * real(*args),  # type: ignore[operator]
    )
    other = TransformersBackend(settings())
    await other.load()
    try:
        assert other.capabilities.parallel > 1
        assert (await ask(other, asked)).text == expected.text
    finally:
        await other.aclose()
