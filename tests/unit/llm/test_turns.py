"""Running turns on a scripted backend: order of events, history, cancellation, failure."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from services.common.errors import (
    ContextLengthError,
    ConversationNotFoundError,
    InvalidArgumentError,
    ModelNotFoundError,
    OverloadedError,
    ToolOutputPendingError,
    UpstreamError,
)
from services.llm.conversation.conversation import ConversationConfig
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import (
    BackendEvent,
    Completed,
    Finished,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    SpeechSegment,
    Started,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolChoice,
    ToolMode,
    TurnEvent,
    TurnRequest,
    Usage,
)
from services.llm.turns import TurnDefaults, Turns
from tests.support.scripted_backend import STOP, ScriptedBackend
from tests.support.spans import recorded

DEFAULTS = TurnDefaults(
    first_segment_min_chars=0,
    first_segment_deadline_s=0.0,
    instructions="default",
    first_batch_sentences=1,
    batch_sentences=3,
    language_prompt=False,
    max_input_chars=1000,
    max_waiting=1,
)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
async def conversations() -> Conversations:
    return Conversations(MemoryStore(100.0, 10), chat_size=30, held_ttl_s=50.0)


@pytest.fixture
def turns(backend: ScriptedBackend, conversations: Conversations) -> Turns:
    return Turns(backend, conversations, DEFAULTS)


@pytest.fixture
async def ident(conversations: Conversations) -> str:
    return (await conversations.create(ConversationConfig())).id


def ask(text: str, ident: str = "", **fields: object) -> TurnRequest:
    return replace(TurnRequest((Message(Role.USER, (TextPart(text),)),), ident), **fields)  # type: ignore[arg-type]


async def run(turns: Turns, request: TurnRequest) -> list[TurnEvent]:
    async with contextlib.aclosing(turns.run(request)) as events:
        return [event async for event in events]


def seen(backend: ScriptedBackend) -> list[str]:
    """The texts that the model saw last."""
    return [message.text for message in backend.requests[-1].messages]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_turn_starts_tells_and_completes(turns: Turns) -> None:
    started, *deltas, completed = await run(turns, ask("hi", speech_segments=True))
    assert isinstance(started, Started)
    assert (started.model, started.backend) == ("model", "scripted")
    assert "".join(event.text for event in deltas if isinstance(event, TextDelta)) == "Hello. Bye."
    assert [event.text for event in deltas if isinstance(event, SpeechSegment)] == ["Hello.", "Bye."]
    assert isinstance(completed, Completed)
    assert (completed.reason, completed.usage) == (FinishReason.STOP, Usage(1, 2))
    assert completed.timings.first_token_s is not None
    assert completed.timings.first_segment_s is not None
    assert completed.timings.total_s >= completed.timings.first_segment_s >= completed.timings.first_token_s


async def test_the_third_turn_of_a_conversation_sees_the_first(
    turns: Turns, backend: ScriptedBackend, ident: str
) -> None:
    for text in ("one", "two", "three"):
        await run(turns, ask(text, ident))
    assert seen(backend) == ["default", "one", "Hello. Bye.", "two", "Hello. Bye.", "three"]


async def test_instructions_of_the_turn_win_over_the_conversations(
    turns: Turns, backend: ScriptedBackend, conversations: Conversations
) -> None:
    known = await conversations.create(ConversationConfig(instructions="mine"))
    await run(turns, ask("a", known.id))
    assert seen(backend) == ["mine", "a"]
    await run(turns, ask("b", known.id, instructions="yours"))
    assert seen(backend)[0] == "yours"
    await run(turns, ask("c", known.id, instructions=""))
    assert seen(backend)[0] == "a"


async def test_the_language_request_is_seen_once_and_never_kept(
    backend: ScriptedBackend, conversations: Conversations, ident: str
) -> None:
    turns = Turns(backend, conversations, replace(DEFAULTS, language_prompt=True))
    await run(turns, ask("bonjour", ident, language_code="fr-FR"))
    assert seen(backend)[-1] == "bonjour Please reply to my message in French."
    await run(turns, ask("hello", ident))
    assert seen(backend) == ["default", "bonjour", "Hello. Bye.", "hello"]


async def test_without_its_flag_there_is_no_language_request(turns: Turns, backend: ScriptedBackend) -> None:
    await run(turns, ask("bonjour", language_code="fr"))
    assert seen(backend)[-1] == "bonjour"


async def test_edge_22_a_backend_that_fails_ends_the_stream_and_the_next_turn_works(
    turns: Turns, backend: ScriptedBackend, conversations: Conversations, ident: str
) -> None:
    good = list(backend.script)
    backend.script = [TextDelta("Hel"), RuntimeError("engine")]
    with pytest.raises(RuntimeError, match="engine"):
        await run(turns, ask("a", ident))
    assert (await conversations.get(ident)).messages == ()
    backend.script = good
    await run(turns, ask("b", ident))
    assert seen(backend) == ["default", "b"]


class SmallModel(ScriptedBackend):
    """Has room for so many messages."""

    room = 6

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        if len(request.messages) > self.room:
            raise ContextLengthError("too long", field="messages")
        async for event in super().generate(request):
            yield event


async def test_edge_24_a_context_that_overflows_in_mid_conversation_loses_its_older_turns(
    conversations: Conversations, ident: str
) -> None:
    backend = SmallModel()
    turns = Turns(backend, conversations, DEFAULTS)
    for text in "abcd":
        assert isinstance((await run(turns, ask(text, ident)))[0], Started)
    assert seen(backend) == ["default", "c", "Hello. Bye.", "d"]
    kept = (await conversations.get(ident)).messages
    assert [message.text for message in kept] == ["c", "Hello. Bye.", "d", "Hello. Bye."]
    events = await run(turns, ask("e", ident, held=True))
    assert [type(event) for event in events].count(Started) == 1


async def test_edge_24_what_is_too_long_alone_is_refused_and_the_history_stays(
    conversations: Conversations, ident: str
) -> None:
    backend = SmallModel()
    turns = Turns(backend, conversations, DEFAULTS)
    await run(turns, ask("a", ident))
    backend.room = 1
    with pytest.raises(ContextLengthError):
        await run(turns, ask("b", ident))
    with pytest.raises(ContextLengthError):
        await run(turns, ask("b", ident, held=True))
    with pytest.raises(ContextLengthError):
        await run(turns, ask("stateless"))
    assert [message.text for message in (await conversations.get(ident)).messages] == ["a", "Hello. Bye."]


async def test_an_answer_that_breaks_off_or_is_empty_is_no_success(
    turns: Turns, backend: ScriptedBackend, conversations: Conversations, ident: str
) -> None:
    for script in ([TextDelta("Hel")], [STOP]):
        backend.script = list(script)
        with pytest.raises(UpstreamError):
            await run(turns, ask("a", ident))
    assert (await conversations.get(ident)).messages == ()


@pytest.mark.parametrize("before", [0, 1])
async def test_edge_18_cancelling_stops_the_backend_and_leaves_no_trace(
    turns: Turns, backend: ScriptedBackend, conversations: Conversations, ident: str, before: int
) -> None:
    good = list(backend.script)
    backend.script = [*good[:before], asyncio.Event()]
    task = asyncio.create_task(run(turns, ask("a", ident)))
    await settle()
    assert backend.closed == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.closed == 1
    assert (await conversations.get(ident)).messages == ()
    backend.script = good
    await run(turns, ask("b", ident))
    assert seen(backend) == ["default", "b"]


async def test_edge_18_a_held_turn_cancelled_in_the_middle_is_committed_with_what_was_heard(
    turns: Turns, backend: ScriptedBackend, conversations: Conversations, ident: str
) -> None:
    backend.script = [TextDelta("**One.** Two. Th"), asyncio.Event()]
    events = turns.run(ask("a", ident, held=True))
    started = await anext(events)
    assert isinstance(started, Started)
    assert await anext(events) == TextDelta("**One.** Two. Th")
    await events.aclose()
    await conversations.commit_response(ident, started.response_id, "One.")
    assert [message.text for message in (await conversations.get(ident)).messages] == ["a", "**One.**"]


async def test_waiting_turns_are_bounded_and_a_cancelled_one_gives_its_place_back(
    turns: Turns, backend: ScriptedBackend
) -> None:
    gate = asyncio.Event()
    backend.script = [gate, *backend.script]
    first, second = (asyncio.create_task(run(turns, ask("a"))) for _ in range(2))
    await settle()
    with pytest.raises(OverloadedError):
        await run(turns, ask("a"))
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(run(turns, ask("a")))
    await settle()
    gate.set()
    assert isinstance((await first)[-1], Completed)
    assert isinstance((await third)[-1], Completed)


async def test_edge_19_a_client_that_stops_reading_does_not_keep_the_model(
    turns: Turns, backend: ScriptedBackend
) -> None:
    slow = turns.run(ask("a"))
    await anext(slow)
    await settle()
    assert backend.closed == 1
    assert isinstance((await run(turns, ask("b")))[-1], Completed)
    await slow.aclose()


async def test_edge_15_a_tool_choice_without_tools_is_refused(turns: Turns, ident: str) -> None:
    for request in (ask("a"), ask("a", ident)):
        with pytest.raises(InvalidArgumentError) as caught:
            await run(turns, replace(request, tool_choice=ToolChoice(ToolMode.REQUIRED)))
        assert caught.value.field == "tool_choice"


async def test_edge_13_a_turn_while_tool_outputs_are_pending_is_refused(
    turns: Turns, backend: ScriptedBackend, ident: str
) -> None:
    backend.script = [ToolCallEvent(ToolCall("c1", "f", "{}")), Finished(FinishReason.TOOL_CALLS)]
    await run(turns, ask("a", ident, tools=(Tool("f", "", ""),)))
    with pytest.raises(ToolOutputPendingError):
        await run(turns, ask("b", ident))
    call = Message(Role.ASSISTANT, (), (ToolCall("c1", "f", "{}"),))
    with pytest.raises(ToolOutputPendingError):
        await run(turns, TurnRequest((Message(Role.USER, (TextPart("a"),)), call)))


async def test_an_unknown_model_or_conversation_is_not_found(turns: Turns) -> None:
    with pytest.raises(ModelNotFoundError) as model:
        await run(turns, ask("a", model="other"))
    assert model.value.field == "model"
    with pytest.raises(ConversationNotFoundError):
        await run(turns, ask("a", "conv_unknown"))
    assert (await run(turns, ask("a", model="model")))[-1]


async def test_an_option_that_the_backend_has_not_is_refused(turns: Turns) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await run(turns, ask("a", options={"beams": 3}))
    assert caught.value.field == "backend_options.beams"


async def test_prefill_answers_at_once_where_the_backend_cannot(
    turns: Turns, backend: ScriptedBackend, ident: str
) -> None:
    message = Message(Role.USER, (TextPart("he"),))
    assert await turns.prefill(ident, (message,)) == 0
    assert backend.requests == []
    with pytest.raises(ConversationNotFoundError):
        await turns.prefill("conv_unknown", (message,))


async def test_prefill_gives_the_backend_the_context_of_the_coming_turn(
    turns: Turns, backend: ScriptedBackend, ident: str
) -> None:
    await run(turns, ask("a", ident))
    backend.able = replace(backend.able, prefill=True)
    assert await turns.prefill(ident, (Message(Role.USER, (TextPart("he"),)),)) == 7
    assert seen(backend) == ["default", "a", "Hello. Bye.", "he"]
    await turns.prefill(ident, (), "Be brief.", (Tool("look", "", "{}"),))
    assert seen(backend) == ["Be brief.", "a", "Hello. Bye."]
    assert [tool.name for tool in backend.requests[-1].tools] == ["look"]


@pytest.mark.parametrize("kept", [True, False], ids=["a conversation", "messages alone"])
async def test_after_an_answer_the_model_reads_ahead_what_the_next_words_will_follow(
    turns: Turns, backend: ScriptedBackend, ident: str, kept: bool
) -> None:
    backend.able = replace(backend.able, prefill=True)
    await run(turns, ask("a", ident if kept else "", instructions="Be brief.", language_code="fr"))
    await settle()
    assert len(backend.requests) == 2
    assert seen(backend) == ["Be brief.", "a", "Hello. Bye."]


async def test_nothing_is_read_ahead_where_it_is_not_known_what_follows(
    turns: Turns, backend: ScriptedBackend, ident: str
) -> None:
    await run(turns, ask("the backend cannot", ident))
    backend.able = replace(backend.able, prefill=True)
    await run(turns, ask("what is heard of it is not known", ident, held=True))
    backend.script = [ToolCallEvent(ToolCall("1", "look", "{}")), Finished(FinishReason.TOOL_CALLS, Usage(1, 2))]
    await run(turns, ask("a tool's output comes next", tools=(Tool("look", "", "{}"),)))
    await settle()
    assert len(backend.requests) == 3


async def test_nothing_is_read_ahead_while_another_turn_runs(turns: Turns, backend: ScriptedBackend) -> None:
    backend.able = replace(backend.able, prefill=True, parallel=2, in_process=True)
    go_on = asyncio.Event()
    turns = Turns(backend, turns._conversations, DEFAULTS)
    backend.script = [TextDelta("Hello."), go_on, STOP]
    long = asyncio.create_task(run(turns, ask("long")))
    await settle()
    backend.script = [TextDelta("Bye."), STOP]
    await run(turns, ask("short"))
    await settle()
    assert len(backend.requests) == 2
    go_on.set()
    await long
    await settle()
    assert seen(backend) == ["default", "long", "Hello."]


async def test_the_first_segment_goes_when_no_token_comes_for_a_while_and_the_rest_is_not_lost(
    backend: ScriptedBackend, conversations: Conversations
) -> None:
    defaults = replace(DEFAULTS, first_segment_min_chars=10, first_segment_deadline_s=0.001)
    go_on = asyncio.Event()
    backend.script = [TextDelta("I am thinking ab"), go_on, TextDelta("out it. Yes."), STOP]
    segments: list[str] = []
    async with contextlib.aclosing(Turns(backend, conversations, defaults).run(ask("a", speech_segments=True))) as turn:
        async for event in turn:
            if isinstance(event, SpeechSegment):
                segments.append(event.text)
                go_on.set()
    assert segments == ["I am thinking", "about it.", "Yes."]


async def test_the_span_of_a_turn_has_its_usage_and_holds_texts_only_where_that_is_asked_for(
    turns: Turns, backend: ScriptedBackend
) -> None:
    call = ToolCallEvent(ToolCall("call_1", "look", "{}"))
    backend.script = [TextDelta("Hello."), call, STOP]
    asked = ask("a secret", tools=(Tool("look", "", "{}"),))
    with recorded() as spans:
        await run(turns, asked)
    (quiet,) = spans
    assert quiet.name == "chat model"
    assert quiet.attributes["gen_ai.usage.output_tokens"] == 2
    assert quiet.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert not [value for value in quiet.attributes.values() if "secret" in str(value) or "Hello" in str(value)]
    with recorded(content=True) as spans:
        await run(turns, asked)
    told = spans[0].attributes
    assert json.loads(str(told["gen_ai.input.messages"])) == [
        {"role": "system", "parts": [{"type": "text", "content": "default"}]},
        {"role": "user", "parts": [{"type": "text", "content": "a secret"}]},
    ]
    (answer,) = json.loads(str(told["gen_ai.output.messages"]))
    assert answer["parts"][0] == {"type": "text", "content": "Hello."}
    assert answer["parts"][1]["name"] == "look"


async def test_the_span_of_a_turn_that_fails_names_the_reason_and_of_one_that_is_left_none(
    turns: Turns, backend: ScriptedBackend
) -> None:
    with recorded() as spans:
        backend.script = [TextDelta("Hel"), UpstreamError("down")]
        with pytest.raises(UpstreamError):
            await run(turns, ask("a"))
        backend.script = [TextDelta("Hel"), asyncio.Event()]
        async with contextlib.aclosing(turns.run(ask("a"))) as events:
            _ = [await anext(events), await anext(events)]
    assert [span.error_type for span in spans] == [UpstreamError.reason, ""]
