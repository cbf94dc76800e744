"""What every backend does, whichever it is: each is tested on what it really runs on.

`tests/support/backend_kinds.py` says which those are, and what is lacking there.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from jinja2 import Environment
from tokenizers import Tokenizer

from services.common.errors import ContextLengthError, InvalidArgumentError, StartupError
from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.backends.chat_template import ChatTemplate
from services.llm.backends.detokenizer import Detokenizer
from services.llm.conversation.conversation import ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import (
    Admitted,
    BackendEvent,
    Completed,
    Finished,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    TurnEvent,
    TurnRequest,
    Usage,
)
from services.llm.turns import TurnDefaults, Turns
from tests.support.backend_kinds import KINDS, Kind
from tests.support.chat_templates import CHATML_TOOLS
from tests.support.openai_servers import OpenAiServer, Servers
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="session")

STORY = "Tell me a story about the sea."
SHORT = Sampling(max_output_tokens=6, temperature=0.0)
LONG = Sampling(max_output_tokens=500, temperature=0.0)
WEATHER = Tool(
    "get_weather",
    "Get the weather of a city.",
    '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.models if kind.needs_models else ()) for kind in KINDS],
    ids=lambda kind: kind.name,
)
def kind(request: pytest.FixtureRequest) -> Kind:
    param: Kind = request.param
    return param


@pytest.fixture(autouse=True)
def _what_is_needed(kind: Kind, request: pytest.FixtureRequest) -> None:
    for mark in request.node.iter_markers("needs"):
        for need in mark.args:
            if need in kind.lacks:
                pytest.skip(f"{kind.name}: {kind.lacks[need]}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(kind: Kind, servers: Servers) -> OpenAiServer | None:
    return await servers(kind.server) if kind.server else None


Make = Callable[..., contextlib.AbstractAsyncContextManager[Backend]]


@pytest.fixture(scope="module")
def make(kind: Kind, server: OpenAiServer | None, request: pytest.FixtureRequest) -> Make:
    """Makes a loaded backend of the kind, with flags of its own."""

    @contextlib.asynccontextmanager
    async def made(folder: Path | None = None, **flags: Any) -> AsyncIterator[Backend]:
        if kind.needs_models and folder is None:
            folder = request.getfixturevalue("tool_model")
        backend = backends.create(kind.settings(folder or Path(), server, **flags))
        try:
            await backend.load()
            yield backend
        finally:
            await backend.aclose()

    return made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backend(make: Make) -> AsyncIterator[Backend]:
    async with make() as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(backend: Backend) -> str:
    """The answer to the question that most tests ask: it is the same each time."""
    return text_of(await run(backend, ask()))


def say(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))


def ask(text: str = STORY, sampling: Sampling = SHORT) -> GenerationRequest:
    return GenerationRequest((say(Role.USER, text),), sampling)


async def run(backend: Backend, request: GenerationRequest) -> list[BackendEvent]:
    backend.check(request)
    async with contextlib.aclosing(backend.generate(request)) as events:
        return [event async for event in events]


def text_of(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def finish(events: list[BackendEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    assert not any(isinstance(event, Finished) for event in events[:-1])
    return events[-1]


def usage(events: list[BackendEvent]) -> Usage:
    used = finish(events).usage
    assert used is not None
    return used


@cache
def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def tokens_of(folder: Path, *messages: tuple[str, str], template: str = CHATML_TOOLS) -> int:
    """Tokens of a prompt that the chat template makes of these roles and texts: what the model must have read."""
    rendered = (
        Environment()
        .from_string(template)
        .render(messages=[{"role": role, "content": text} for role, text in messages], add_generation_prompt=True)
    )
    return len(_tokenizer(folder).encode(rendered, add_special_tokens=False).ids)


async def test_it_says_what_it_is(backend: Backend, kind: Kind) -> None:
    able = backend.capabilities
    assert able.model
    assert "/" not in able.model
    assert able.backend == kind.backend
    assert able.parallel >= 1
    assert (able.context_length_tokens > 1000) is ("context length" not in kind.lacks)
    assert able.tools is ("tools" not in kind.lacks)


async def test_deltas_come_and_then_one_finish_with_usage(backend: Backend) -> None:
    events = await run(backend, ask())
    deltas = events[backend.capabilities.admits : -1]
    assert len(deltas) > 1
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert isinstance(events[0], Admitted) is backend.capabilities.admits
    assert usage(events).input_tokens > 5
    assert usage(events).output_tokens == 6


@pytest.mark.needs("cut")
async def test_the_limit_of_tokens_is_kept_and_told(backend: Backend) -> None:
    events = await run(backend, ask(sampling=Sampling(max_output_tokens=3)))
    assert finish(events).reason is FinishReason.LENGTH
    assert usage(events).output_tokens == 3


@pytest.mark.needs("model")
async def test_an_answer_that_ends_by_itself_says_so_and_its_mark_is_no_text(backend: Backend) -> None:
    pattern = [("Say A.", "A."), ("Say B.", "B."), ("Say C.", "C.")]
    history = [message for asked, said in pattern for message in (say(Role.USER, asked), say(Role.ASSISTANT, said))]
    request = GenerationRequest((*history, say(Role.USER, "Say D.")), Sampling(max_output_tokens=20, temperature=0.0))
    events = await run(backend, request)
    assert finish(events).reason is FinishReason.STOP
    assert text_of(events).strip() == "D."


@pytest.mark.needs("stop")
async def test_a_stop_string_ends_the_answer_before_it(backend: Backend, story: str) -> None:
    stop = story.split()[2]
    events = await run(backend, ask(sampling=Sampling(max_output_tokens=6, temperature=0.0, stop=(stop,))))
    assert text_of(events) == story[: story.index(stop)]
    assert finish(events).reason is FinishReason.STOP


@pytest.mark.needs("sampling")
async def test_a_temperature_is_honoured(backend: Backend) -> None:
    hot = Sampling(max_output_tokens=6, temperature=1.8)
    answers = {text_of(await run(backend, ask(sampling=hot))) for _ in range(5)}  # two may be the same by chance
    assert len(answers) > 1


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_edge_18_closing_stops_the_work_and_the_next_answer_is_clean(
    backend: Backend, story: str, after: int
) -> None:
    events = backend.generate(ask("Count from one to a thousand.", LONG))
    for _ in range(after):
        await anext(events)
    await events.aclose()
    await events.aclose()
    assert text_of(await run(backend, ask())) == story


async def test_edge_18_cancelling_before_the_first_token_stops_the_work(backend: Backend, story: str) -> None:
    task = asyncio.create_task(run(backend, ask("Word. " * 100, LONG)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert text_of(await run(backend, ask())) == story


async def test_requests_at_the_same_time_are_all_answered(backend: Backend, story: str) -> None:
    answers = await asyncio.gather(*(run(backend, ask()) for _ in range(3)))
    assert [text_of(answer) for answer in answers] == [story] * 3


@pytest.mark.needs("model")
async def test_the_history_reaches_the_model(backend: Backend) -> None:
    history = (
        say(Role.SYSTEM, "You are a friendly assistant."),
        say(Role.USER, "My name is Clara."),
        say(Role.ASSISTANT, "Nice to meet you, Clara."),
        say(Role.USER, "What is my name?"),
    )
    events = await run(backend, GenerationRequest(history, Sampling(max_output_tokens=12, temperature=0.0)))
    assert "Clara" in text_of(events)


@pytest.mark.needs("roles")
async def test_the_roles_of_the_flags_are_used(make: Make, kind: Kind, embedded: Path, tmp_path: Path) -> None:
    """Told by the tokens that the model has read: the template writes the names of the roles."""
    folder = save_tiny_model(embedded, tmp_path, template=CHATML_TOOLS) if kind.is_local else None
    if not kind.needs_models:
        pytest.skip("the fake has no roles but its own")
    async with make(folder, init_chat_role="narrator", user_role="astonished_visitor") as backend:
        messages = (say(Role.SYSTEM, "You are a parrot."), say(Role.USER, "Hello!"))
        used = usage(await run(backend, GenerationRequest(messages, Sampling(max_output_tokens=1))))
    expected = ("narrator", "You are a parrot."), ("astonished_visitor", "Hello!")
    assert used.input_tokens == tokens_of(embedded, *expected)


@pytest.mark.needs("model")
async def test_edge_25_user_messages_in_a_row_are_all_read(backend: Backend, embedded: Path) -> None:
    texts = ("Wait.", "No, go on.", "Hello?")
    request = GenerationRequest(tuple(say(Role.USER, text) for text in texts), Sampling(max_output_tokens=2))
    used = usage(await run(backend, request))
    assert used.input_tokens == tokens_of(embedded, *(("user", text) for text in texts))


STRICT = """\
{%- for message in messages %}
{%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""As that of the first Gemma: no system, no tools, and no two of a role in a row."""


@pytest.mark.needs("own template")
async def test_edge_25_26_a_template_that_takes_user_and_assistant_alone_gets_all_that_was_said(
    make: Make, embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = (
        say(Role.SYSTEM, "Be kind."),
        say(Role.USER, "Weather?"),
        say(Role.USER, "In Rome."),
        Message(Role.ASSISTANT, (), (ToolCall("call_1", "get_weather", '{"city": "Rome"}'),)),
        Message(Role.TOOL, (TextPart("sunny and 31 degrees"),), (), "call_1"),
    )
    prompts, render = list[str](), ChatTemplate.render

    def rendered(self: ChatTemplate, *context: Any) -> Any:
        prompt = render(self, *context)
        prompts.append(prompt.text)
        return prompt

    async with make(save_tiny_model(embedded, tmp_path, template=STRICT)) as backend:
        assert not backend.capabilities.tools
        monkeypatch.setattr(ChatTemplate, "render", rendered)
        used = usage(await run(backend, GenerationRequest(messages, Sampling(max_output_tokens=2))))
    places = [prompts[0].find(text) for text in ("Be kind.", "Weather?", "In Rome.", "get_weather", "sunny and 31")]
    assert places == sorted(places)
    assert places[0] > 0
    assert used.input_tokens == len(_tokenizer(embedded).encode(prompts[0], add_special_tokens=False).ids)


def _asked(city: str, weather: str = "") -> tuple[Message, ...]:
    """A question about the weather; with `weather`, the whole turn to its answer."""
    question = say(Role.USER, f"What is the weather in {city}?")
    call = Message(Role.ASSISTANT, (), (ToolCall(f"call_{city}", "get_weather", json.dumps({"city": city})),))
    output = Message(Role.TOOL, (TextPart(weather),), (), f"call_{city}")
    return (question, call, output, say(Role.ASSISTANT, f"It is {weather} in {city}.")) if weather else (question,)


CALLS = (*_asked("London", "rain"), *_asked("Rome", "sun"), *_asked("Berlin", "snow"), *_asked("Madrid", "wind"))
"""A model this small follows earlier calls, not instructions; four of them leave no doubt (three do)."""


def turns(backend: Backend, chat_size: int = 30) -> tuple[Turns, Conversations]:
    conversations = Conversations(MemoryStore(3600, 100), chat_size=chat_size, held_ttl_s=600)
    defaults = TurnDefaults(
        instructions="",
        first_batch_sentences=1,
        first_segment_min_chars=0,
        first_segment_deadline_s=0.0,
        batch_sentences=3,
        language_prompt=False,
        max_input_chars=100_000,
        max_waiting=64,
    )
    return Turns(backend, conversations, defaults), conversations


async def turn(turns: Turns, conversation_id: str, message: Message, limit: int, **asked: Any) -> list[TurnEvent]:
    sampling = Sampling(max_output_tokens=limit, temperature=0.0)
    events = turns.run(TurnRequest((message,), conversation_id, sampling=sampling, **asked))
    async with contextlib.aclosing(events):
        return [event async for event in events]


def completed(events: list[TurnEvent]) -> Completed:
    assert isinstance(events[-1], Completed)
    return events[-1]


@pytest.mark.needs("tools")
async def test_a_tool_is_called_and_its_output_is_answered(backend: Backend) -> None:
    run_turns, conversations = turns(backend)
    ident = (await conversations.create(ConversationConfig(tools=(WEATHER,)), CALLS)).id
    events = await turn(run_turns, ident, _asked("Paris")[0], 40)
    calls = [event.call for event in events if isinstance(event, ToolCallEvent)]
    assert [(call.name, json.loads(call.arguments_json)) for call in calls] == [("get_weather", {"city": "Paris"})]
    assert completed(events).reason is FinishReason.TOOL_CALLS
    assert "tool_call" not in text_of(events)
    output = Message(Role.TOOL, (TextPart("fog"),), (), calls[0].id)
    events = await turn(run_turns, ident, output, 12)
    assert "fog" in text_of(events)
    assert completed(events).reason in (FinishReason.STOP, FinishReason.LENGTH)


@pytest.mark.needs("model")
@pytest.mark.parametrize("size", [0, 1])
async def test_edge_24_a_window_of_none_and_of_one(backend: Backend, embedded: Path, size: int) -> None:
    run_turns, conversations = turns(backend, size)
    ident = (await conversations.create(ConversationConfig())).id
    read = []
    for text in ("First.", "Second.", "Third.")[: size + 2]:
        used = completed(await turn(run_turns, ident, say(Role.USER, text), 2)).usage
        assert used is not None
        read.append(used.input_tokens)
    alone = tokens_of(embedded, ("user", "First."))
    assert read == [alone] * 2 if size == 0 else read[0] == alone < read[1] == read[2]


@pytest.mark.needs("context")
@pytest.mark.parametrize("role", [Role.USER, Role.SYSTEM])
async def test_edge_24_a_context_that_does_not_fit_is_refused(backend: Backend, role: Role) -> None:
    words = backend.capabilities.context_length_tokens + 1
    messages = (say(role, "word " * words), say(Role.USER, "Hello?"))
    with pytest.raises(ContextLengthError):
        await run(backend, GenerationRequest(messages, SHORT))
    assert text_of(await run(backend, ask()))


@pytest.mark.needs("own engine")
async def test_edge_22_an_engine_that_raises_fails_its_request_alone(
    backend: Backend, story: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Detokenizer, token: int) -> str:
        raise RuntimeError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(Detokenizer, "feed", broken)
        with pytest.raises(RuntimeError, match="out of order"):
            await run(backend, ask())
    assert text_of(await run(backend, ask())) == story


@pytest.mark.needs("bad model")
async def test_a_model_that_is_not_there_is_told(make: Make, kind: Kind) -> None:
    """At the start where the list of models can be had, else by the first request."""
    with pytest.raises((StartupError, *kind.bad_model)) as caught:
        async with make(model_name="no-such-model" if kind.server else "/no/such/model") as backend:
            await run(backend, ask())
    assert "\n" not in str(caught.value)


async def test_without_streaming_the_answer_is_the_same(story: str, make: Make, kind: Kind) -> None:
    if not kind.server:
        pytest.skip(f"{kind.name}: its answers always come as they are written")
    async with make(responses_api_stream=False) as whole:
        events = await run(whole, ask())
    assert text_of(events) == story
    assert usage(events).output_tokens == 6


async def test_an_unknown_option_is_refused_by_name(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        backend.check(GenerationRequest(ask().messages, options={"no_such_option": 1}))
    assert caught.value.field == "backend_options.no_such_option"


async def test_prefill_makes_ready_what_it_says(backend: Backend) -> None:
    tokens = await backend.prefill(ask())
    assert (tokens > 0) is backend.capabilities.prefill
