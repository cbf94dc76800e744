"""The API backends against a provider that is played byte by byte: answers, failures, retries, clocks, cancelling."""

import asyncio
import contextlib
import datetime
import email.utils
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from services.common.errors import (
    ContentFilteredError,
    ContextLengthError,
    InvalidArgumentError,
    ModelNotFoundError,
    ParleyError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)
from services.llm import backends
from services.llm.backends.api import clocks, connection
from services.llm.backends.base import Backend
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePart,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
    ToolChoice,
    ToolMode,
    Usage,
)
from services.llm.settings import LlmSettings
from tests.support.dialects import DIALECTS, Dialect, sse
from tests.support.fault_server import (
    MODEL,
    Exchange,
    FaultServer,
    Script,
    answering,
    fault_server,
    stalling,
    streaming,
)

KEY = "test-key-never-told"
ASKED = GenerationRequest((Message(Role.USER, (TextPart("Hello?"),)),))
WEATHER = Tool("get_weather", "Tells the weather", '{"type": "object", "properties": {"city": {"type": "string"}}}')
Make = Callable[..., contextlib.AbstractAsyncContextManager[Backend]]


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.backend)
def api(request: pytest.FixtureRequest) -> Dialect:
    dialect: Dialect = request.param
    return dialect


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[FaultServer]:
    async with fault_server() as played:
        yield played


@pytest.fixture
def made(api: Dialect, provider: FaultServer) -> Make:
    """Makes a loaded backend with flags of its own."""

    @contextlib.asynccontextmanager
    async def make(**flags: Any) -> AsyncIterator[Backend]:
        settings = LlmSettings(
            llm_backend=api.backend,
            model_name=MODEL,
            responses_api_base_url=provider.url,
            responses_api_api_key=KEY,
            **flags,
        )
        backend = backends.create(settings)
        await backend.load()
        try:
            yield backend
        finally:
            await backend.aclose()

    return make


async def run(backend: Backend, request: GenerationRequest = ASKED) -> list[BackendEvent]:
    """All events, but for where calls begin."""
    async with contextlib.aclosing(backend.generate(request)) as events:
        return [event async for event in events if not isinstance(event, ToolCallStarted)]


def text_of(events: list[BackendEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def failure(backend: Backend, request: GenerationRequest = ASKED) -> ParleyError:
    """What a request fails with; nothing internal is in it."""
    with pytest.raises(ParleyError) as caught:
        await run(backend, request)
    for word in (KEY, "127.0.0.1", "httpx", "Error(", "Traceback"):
        assert word not in caught.value.message
    return caught.value


async def test_an_answer_comes_as_deltas_and_one_end(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(api.answer("Hello", ", ", "world.")))
        events = await run(backend)
    assert text_of(events) == "Hello, world."
    assert events[-1] == Finished(FinishReason.STOP, Usage(7, 3))
    asked = provider.posts[0]
    assert (asked.path, asked.body["model"], asked.body["stream"]) == (api.path, MODEL, True)
    assert asked.headers["authorization"] == f"Bearer {KEY}"


async def test_without_streaming_the_answer_comes_the_same_way(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made(responses_api_stream=False) as backend:
        provider.play(answering(200, api.whole("Hello, world.")))
        assert await run(backend) == [TextDelta("Hello, world."), Finished(FinishReason.STOP, Usage(7, 3))]
    assert provider.posts[0].body["stream"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_a_server_that_ignores_the_wish_to_stream_or_not_is_understood(
    api: Dialect, provider: FaultServer, made: Make, stream: bool
) -> None:
    async with made(responses_api_stream=stream) as backend:
        provider.play(answering(200, api.whole("Hi.")) if stream else streaming(api.answer("Hi.")))
        assert text_of(await run(backend)) == "Hi."


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("length", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_edge_21_an_answer_that_was_cut_says_why(
    api: Dialect, provider: FaultServer, made: Make, reason: str, expected: FinishReason, stream: bool
) -> None:
    whole = answering(200, api.whole("Once", reason))
    async with made(responses_api_stream=stream) as backend:
        provider.play(streaming(api.answer("Once", reason=reason)) if stream else whole)
        events = await run(backend)
    assert (text_of(events), events[-1]) == ("Once", Finished(expected, Usage(7, 3)))


async def test_edge_21_bytes_that_come_one_by_one_with_comments_and_without_an_end(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    """Keep-alives, CRLF, no [DONE], no empty line after the last event: all of it happens."""
    pieces = [": keep-alive\r\n\r\n", *api.answer("Grüße, ", "世界."), "\n: bye\n"]
    if pieces[-2].startswith("data: [DONE]"):
        pieces.pop(-2)
    async with made() as backend:
        provider.play(streaming(["".join(pieces).replace("\n", "\r\n").strip()], slowly=True))
        assert text_of(await run(backend)) == "Grüße, 世界."


async def test_edge_17_thinking_is_told_apart(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(sse(api.thought("Hm."), api.text("Yes."), *api.end())))
        events = await run(backend)
    assert events[:2] == [ReasoningDelta("Hm."), TextDelta("Yes.")]


async def test_edge_21_an_answer_without_usage_has_none(api: Dialect, provider: FaultServer, made: Make) -> None:
    async with made() as backend:
        provider.play(streaming(sse(api.text("Yes."), *api.end(usage=None))))
        assert (await run(backend))[-1] == Finished(FinishReason.STOP, None)


# Tools


async def test_edge_09_arguments_in_many_pieces_are_one_call_between_the_texts(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    call = api.call("id1", "get_weather", '{"ci', 'ty": "Pa', 'ris"}')
    async with made() as backend:
        provider.play(streaming(sse(api.text("Wait."), *call, *api.end("tool_calls"))))
        events = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert events == [
        TextDelta("Wait."),
        ToolCallEvent(ToolCall("id1", "get_weather", '{"city": "Paris"}')),
        Finished(FinishReason.TOOL_CALLS, Usage(7, 3)),
    ]


async def test_edge_12_a_call_with_broken_arguments_is_reported_beside_a_good_one(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    calls = [*api.call("id1", "get_weather", '{"city": "Par'), *api.call("id2", "get_weather", "{}", place=1)]
    async with made() as backend:
        provider.play(streaming(sse(*calls, *api.end("tool_calls"))))
        bad, good, finished = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert isinstance(bad, InvalidToolCall)
    assert (bad.id, bad.name, bad.arguments_text) == ("id1", "get_weather", '{"city": "Par')
    assert good == ToolCallEvent(ToolCall("id2", "get_weather", "{}"))
    assert finished == Finished(FinishReason.TOOL_CALLS, Usage(7, 3))


async def test_edge_10_an_id_that_was_there_before_is_made_unique_and_the_provider_sees_its_own(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    before = (
        *ASKED.messages,
        Message(Role.ASSISTANT, tool_calls=(ToolCall("call_0", "get_weather", "{}"),)),
        Message(Role.TOOL, (TextPart("Rain"),), tool_call_id="call_0"),
    )
    async with made() as backend:
        provider.play(streaming(sse(*api.call("call_0", "get_weather", "{}"), *api.end("tool_calls"))))
        event = (await run(backend, GenerationRequest(before, tools=(WEATHER,))))[0]
        assert isinstance(event, ToolCallEvent)
        assert event.call.id == "call_0~2"
        after = (
            *before,
            Message(Role.ASSISTANT, tool_calls=(event.call,)),
            Message(Role.TOOL, (TextPart("Sun"),), tool_call_id=event.call.id),
        )
        provider.play(streaming(api.answer("Sun.")))
        await run(backend, GenerationRequest(after, tools=(WEATHER,)))
    assert "~2" not in str(provider.posts[1].body)


# What is sent


async def test_edge_14_a_whole_conversation_is_sent_as_the_api_wants_it(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    messages = (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.USER, (TextPart("Look:"), ImagePart(b"\x89PNG", media_type="image/png"))),
        Message(Role.ASSISTANT, (TextPart("A cat."),)),
        Message(Role.USER, (TextPart("Weather?"),)),
        Message(Role.ASSISTANT, tool_calls=(ToolCall("id1", "get_weather", '{"city":"Bonn"}'),)),
        Message(Role.TOOL, (TextPart("Rain"),), tool_call_id="id1"),
    )
    choice = ToolChoice(ToolMode.REQUIRED, "get_weather")
    async with made(init_chat_role="developer", user_role="person") as backend:
        provider.play(streaming(api.answer("Rain.")))
        await run(backend, GenerationRequest(messages, tools=(WEATHER,), tool_choice=choice))
    body, url = provider.posts[0].body, "data:image/png;base64,iVBORw=="
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "get_weather", "description": "Tells the weather", "parameters": schema}
    if api.backend == "chat-completions":
        call = {"id": "id1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Bonn"}'}}
        assert body["messages"] == [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "person",
                "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": url}}],
            },
            {"role": "assistant", "content": "A cat."},
            {"role": "person", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "Rain", "tool_call_id": "id1"},
        ]
        assert body["tools"] == [{"type": "function", "function": function}]
        assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
        return
    picture = {"type": "input_image", "image_url": url}
    assert body["input"] == [
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"type": "message", "role": "person", "content": [{"type": "input_text", "text": "Look:"}, picture]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
        {"type": "message", "role": "person", "content": "Weather?"},
        {"type": "function_call", "call_id": "id1", "name": "get_weather", "arguments": '{"city":"Bonn"}'},
        {"type": "function_call_output", "call_id": "id1", "output": "Rain"},
    ]
    assert body["tools"] == [{"type": "function", "strict": False, **function}]
    assert body["tool_choice"] == {"type": "function", "name": "get_weather"}


async def test_sampling_is_sent_or_refused_by_name(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(streaming(api.answer("Yes.")))
    async with made(llm_gen_temperature=0.5, llm_gen_max_new_tokens=9, llm_gen_top_p=0.9) as backend:
        await run(backend, GenerationRequest(ASKED.messages, Sampling(max_output_tokens=5, temperature=0.0)))
        body = provider.posts[0].body
        limit = "max_tokens" if api.backend == "chat-completions" else "max_output_tokens"
        assert (body[limit], body["temperature"], body["top_p"]) == (5, 0.0, 0.9)
        lacking = {"top_k": 5, "min_output_tokens": 2}
        if api.backend == "responses-api":
            lacking |= {"seed": 1, "presence_penalty": 1, "frequency_penalty": 1}
        for name, value in lacking.items():
            with pytest.raises(InvalidArgumentError) as caught:
                backend.check(GenerationRequest(ASKED.messages, Sampling(**{name: value})))
            assert caught.value.field == f"sampling.{name}"


async def test_nothing_is_sampled_otherwise_than_by_default_unless_asked_for(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(streaming(api.answer("Yes.")))
    async with made() as backend:
        await run(backend)
    expected = {"model", "stream", "chat_template_kwargs", "stream_options", "messages", "input"}
    assert set(provider.posts[0].body) <= expected


async def test_an_answer_ends_at_a_stop_string_and_so_does_the_work(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(stalling(sse(api.text("One tw"), api.text("o three"))))
    async with made() as backend:
        events = await run(backend, GenerationRequest(ASKED.messages, Sampling(stop=("two",))))
        await provider.posts[0].gone.wait()
    assert events == [TextDelta("One "), Finished(FinishReason.STOP)]


@pytest.mark.parametrize("effort", ["", "low"])
@pytest.mark.parametrize("disabled", [True, False])
async def test_the_effort_of_thinking_wins_over_the_wish_for_none(
    api: Dialect, provider: FaultServer, made: Make, effort: str, disabled: bool
) -> None:
    provider.play(streaming(api.answer("Yes.")))
    flags = {"responses_api_reasoning_effort": effort, "responses_api_disable_thinking": disabled}
    async with made(**flags) as backend:
        await run(backend)
        await run(backend, GenerationRequest(ASKED.messages, options={"reasoning_effort": "high"}))
    for body, asked in zip((exchange.body for exchange in provider.posts), (effort, "high"), strict=True):
        told = body.get("reasoning_effort") or body.get("reasoning", {}).get("effort") or ""
        assert told == asked
        no_thinking = {"enable_thinking": False} if disabled and not asked else None
        assert body.get("chat_template_kwargs") == no_thinking


async def test_a_provider_that_refuses_the_wish_for_no_thinking_is_asked_without_it(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    refusal = answering(422, {"detail": "Unexpected fields in the request: {'chat_template_kwargs'}"})
    provider.play(refusal, streaming(api.answer("Yes.")))
    async with made(responses_api_max_retries=0) as backend:
        assert text_of(await run(backend)) == "Yes."
        assert text_of(await run(backend)) == "Yes."
    assert ["chat_template_kwargs" in exchange.body for exchange in provider.posts] == [True, False, False]


async def test_an_unknown_option_is_refused_with_the_known_one(made: Make) -> None:
    async with made() as backend:
        for options in ({"reasoning_efort": "low"}, {"reasoning_effort": 3}):
            with pytest.raises(InvalidArgumentError) as caught:
                backend.check(GenerationRequest(ASKED.messages, options=options))
            assert caught.value.field == f"backend_options.{next(iter(options))}"


# Failures

STATUSES: list[tuple[int, Any, dict[str, str], type[ParleyError], float | None, int]] = [
    (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, {}, UpstreamUnauthenticatedError, None, 1),
    (403, {"error": {"message": "no"}}, {}, UpstreamUnauthenticatedError, None, 1),
    (402, {"error": {"message": "pay"}}, {}, UpstreamRateLimitedError, None, 1),
    (404, {"error": {"code": "model_not_found", "message": "no such model"}}, {}, ModelNotFoundError, None, 1),
    (404, {"detail": "Not Found"}, {}, UpstreamError, None, 1),
    (429, {"error": {"message": "slow down"}}, {"retry_after": "30"}, UpstreamRateLimitedError, 30.0, 1),
    (429, {"error": {"message": "slow down"}}, {"retry_after_ms": "10"}, UpstreamRateLimitedError, 0.01, 3),
    (429, {"error": {"code": "insufficient_quota"}}, {}, UpstreamRateLimitedError, None, 1),
    (500, {"error": {"message": "oops"}}, {"retry_after_ms": "1"}, UpstreamError, 0.001, 3),
    (502, "<html>Bad gateway</html>", {"retry_after_ms": "1"}, UpstreamError, 0.001, 3),
    (503, {"error": {"message": "Loading model"}}, {"retry_after": "0"}, UpstreamError, 0.0, 3),
    (504, "", {"retry_after": "0"}, UpstreamTimeoutError, 0.0, 3),
    (413, "", {}, ContextLengthError, None, 1),
    (400, {"error": {"code": "context_length_exceeded"}}, {}, ContextLengthError, None, 1),
    (
        400,
        {"error": {"message": "the request exceeds the available context size (4096 tokens)"}},
        {},
        ContextLengthError,
        None,
        1,
    ),
    (400, {"error": {"code": "content_filter", "message": "no"}}, {}, ContentFilteredError, None, 1),
    (400, {"error": {"message": "bad", "param": "temperature"}}, {}, InvalidArgumentError, None, 1),
    (422, {"detail": [{"msg": "bad"}]}, {}, InvalidArgumentError, None, 1),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "retry_after_s", "tries"),
    STATUSES,
    ids=[f"{status}-{number}" for number, (status, *_) in enumerate(STATUSES)],
)
async def test_edge_21_each_http_status_has_its_error(
    api: Dialect,
    provider: FaultServer,
    made: Make,
    status: int,
    body: Any,
    headers: dict[str, str],
    kind: type[ParleyError],
    retry_after_s: float | None,
    tries: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    content_type = "text/html" if isinstance(body, str) else "application/json"
    provider.play(answering(status, body, content_type, **headers))
    async with made() as backend:
        error = await failure(backend)
        assert type(error) is kind
        assert error.retry_after_s == retry_after_s
        assert len(provider.posts) == tries
        if body and "param" in str(body):
            assert error.field == "sampling.temperature"
        provider.play(streaming(api.answer("Back.")))
        assert text_of(await run(backend)) == "Back."
    assert KEY not in caplog.text
    assert KEY not in str([vars(record) for record in caplog.records])


async def test_retry_after_may_be_a_date(api: Dialect, provider: FaultServer, made: Make) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    provider.play(answering(429, {"error": {}}, retry_after=email.utils.format_datetime(later, usegmt=True)))
    async with made() as backend:
        error = await failure(backend)
    assert error.retry_after_s is not None
    assert 90 < error.retry_after_s <= 100
    assert len(provider.posts) == 1


async def test_edge_21_a_failure_that_passes_is_not_seen(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(
        answering(503, {"error": {}}, retry_after="0"),
        streaming(sse(api.error("overloaded", "later")), ends=True),
        streaming(api.answer("Hello.")),
    )
    before, tried = failures_counted(), [tries_timed(error) for error in ("UPSTREAM_ERROR", "")]
    async with made() as backend:
        assert text_of(await run(backend)) == "Hello."
    assert len(provider.posts) == 3
    assert failures_counted() == before + 2
    assert [tries_timed(error) for error in ("UPSTREAM_ERROR", "")] == [tried[0] + 2, tried[1] + 1]


def failures_counted() -> float:
    """Failures of the provider that a retry followed, as the metrics have them."""
    labels = {"reason": "UPSTREAM_ERROR", "retried": "true"}
    return REGISTRY.get_sample_value("parley_llm_provider_failures_total", labels) or 0.0


def tries_timed(error_type: str) -> float:
    """Requests to the provider that ended so; no error is ""."""
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "gen_ai_client_operation_duration_seconds_count"
        and sample.labels["error_type"] == error_type
        and sample.labels["gen_ai_provider_name"] == "openai_compatible"
    )


async def test_edge_21_no_connection_is_unavailable(made: Make, provider: FaultServer) -> None:
    async with made(responses_api_max_retries=1) as backend:
        await provider.aclose()
        error = await failure(backend)
    assert isinstance(error, UpstreamError)
    assert error.retry_after_s is not None


def cut(api: Dialect) -> dict[str, Script]:
    """Answers that break off once some of the text has come."""
    first, second = sse(api.text("Hello"), api.text("world"))
    return {
        "in the middle of JSON": streaming([first, second[:30]]),
        "by hanging up": streaming([first, second[:30]], ends=False),
        "at the end of an event": streaming([first, second]),
        "with an error": streaming([first, *sse(api.error("server_error", "it broke"))]),
        "with what is no JSON": streaming([first, "data: oops\n\n"]),
        "with JSON that is no object": streaming([first, "data: [1]\n\n"]),
    }


@pytest.mark.parametrize("how", list(cut(DIALECTS[0])))
async def test_edge_21_an_answer_that_breaks_off_is_an_error_and_never_tried_again(
    api: Dialect, provider: FaultServer, made: Make, how: str
) -> None:
    provider.play(cut(api)[how])
    async with made() as backend:
        async with contextlib.aclosing(backend.generate(ASKED)) as events:
            assert await anext(events) == TextDelta("Hello")
            with pytest.raises(UpstreamError):
                assert [event async for event in events] == []
        assert len(provider.posts) == 1
        provider.play(streaming(api.answer("Back.")))
        assert text_of(await run(backend)) == "Back."


@pytest.mark.parametrize(
    "script",
    [
        answering(200, "<html>Log in</html>", "text/html; charset=utf-8"),
        answering(200, "[]"),
        answering(200, {}),
        answering(200, "hello", "text/plain"),
    ],
)
async def test_edge_21_what_is_no_answer_is_an_error(provider: FaultServer, made: Make, script: Script) -> None:
    provider.play(script)
    async with made(responses_api_max_retries=0) as backend:
        assert isinstance(await failure(backend), UpstreamError)


async def test_edge_21_an_error_inside_the_answer_keeps_its_meaning(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    known: list[tuple[str, str, type[ParleyError]]] = [
        ("rate_limit_exceeded", "slow down", UpstreamRateLimitedError),
        ("context_length_exceeded", "too long", ContextLengthError),
        ("server_error", "maximum context length is 4096", ContextLengthError),
        ("400", "the request exceeds the available context size", ContextLengthError),
        ("server_error", "oops", UpstreamError),
    ]
    async with made(responses_api_max_retries=0) as backend:
        for code, message, kind in known:
            provider.play(streaming(sse(api.error(code, message))))
            assert type(await failure(backend)) is kind


# Clocks


@pytest.mark.parametrize("head", [True, False])
async def test_edge_21_no_first_token_in_time(provider: FaultServer, made: Make, head: bool) -> None:
    provider.play(stalling([": keep-alive\n\n"] if head else [], head=head))
    async with made(responses_api_first_token_timeout_s=0.1) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has sent no token within 0.1 s"


async def test_edge_21_a_stream_that_starts_and_then_stalls(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(stalling(sse(api.text("Hello"))))
    async with made(responses_api_idle_timeout_s=0.1) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has sent no further token within 0.1 s"


@pytest.mark.parametrize("stream", [True, False])
async def test_edge_21_an_answer_that_never_ends(api: Dialect, provider: FaultServer, made: Make, stream: bool) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(kind="text/event-stream" if stream else "application/json")
        while not exchange.gone.is_set():
            await exchange.send(sse(api.text("and "))[0])
            await asyncio.sleep(0.005)

    provider.play(endless)
    async with made(responses_api_request_timeout_s=0.2, responses_api_stream=stream) as backend:
        error = await failure(backend)
        await provider.posts[0].gone.wait()
    assert isinstance(error, UpstreamTimeoutError)
    assert error.message == "the provider has not finished the answer within 0.2 s"


async def test_edge_19_the_time_that_a_slow_consumer_takes_is_not_the_providers(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(streaming(api.answer(*"abcdef")))
    async with made(responses_api_idle_timeout_s=0.05) as backend:
        events = []
        async for event in backend.generate(ASKED):
            events.append(event)
            if len(events) == 1:
                await asyncio.sleep(0.1)
    assert text_of(events) == "abcdef"


async def test_edge_21_an_answer_that_is_whole_does_not_wait_for_the_stream_to_end(
    api: Dialect, provider: FaultServer, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says why the answer ended and then neither counts its tokens nor ends the stream."""
    monkeypatch.setattr(clocks, "_LAST_WORD_S", 0.05)
    end = api.end(usage=None)
    provider.play(stalling(sse(api.text("Yes."), end[0])))
    async with made() as backend:
        assert await run(backend) == [TextDelta("Yes."), Finished(FinishReason.STOP, None)]


async def test_edge_09_long_arguments_are_no_stall(api: Dialect, provider: FaultServer, made: Make) -> None:
    """Nothing can be told of a call before it is whole, and yet its pieces are tokens."""
    call = api.call("id1", "get_weather", '{"city": "', *"Llanfairpwll", '"}')

    async def slow(exchange: Exchange) -> None:
        await exchange.head()
        for event in sse(*call, *api.end("tool_calls")):
            await exchange.send(event)
            await asyncio.sleep(0.06)
        await exchange.end()

    provider.play(slow)
    async with made(responses_api_idle_timeout_s=0.5, responses_api_first_token_timeout_s=0.5) as backend:
        events = await run(backend, GenerationRequest(ASKED.messages, tools=(WEATHER,)))
    assert events[0] == ToolCallEvent(ToolCall("id1", "get_weather", '{"city": "Llanfairpwll"}'))


async def test_a_retry_that_would_come_too_late_is_not_waited_for(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(answering(429, {"error": {}}, retry_after="5"))
    async with made(responses_api_first_token_timeout_s=2) as backend:
        error = await failure(backend)
    assert isinstance(error, UpstreamRateLimitedError)
    assert error.retry_after_s == 5.0


# Connections


async def test_turns_share_the_connection_that_loading_opened(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(streaming(api.answer("Hello.")))
    async with made() as backend:
        for _ in range(3):
            await run(backend)
            await settled(backend)
    assert [exchange.method for exchange in provider.exchanges] == ["GET", "POST", "POST", "POST"]
    assert {exchange.connection for exchange in provider.exchanges} == {0}


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_turn(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    async def vanish(exchange: Exchange) -> None:
        await exchange.hang_up()

    provider.play(vanish, streaming(api.answer("Hello.")))
    async with made() as backend:
        assert text_of(await run(backend)) == "Hello."
    assert len(provider.posts) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_megabytes_go_both_ways(api: Dialect, provider: FaultServer, made: Make, stream: bool) -> None:
    long = "many words " * 300_000
    provider.play(streaming(sse(api.text(long), *api.end())) if stream else answering(200, api.whole(long)))
    async with made(responses_api_stream=stream) as backend:
        events = await run(backend, GenerationRequest((Message(Role.USER, (TextPart(long),)),)))
    assert text_of(events) == long
    assert long in str(provider.posts[0].body)


async def test_a_finished_stream_that_does_not_end_is_hung_up_on(
    api: Dialect, provider: FaultServer, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_DRAIN_S", 0.05)
    provider.play(stalling(api.answer("Yes.")))
    async with made() as backend:
        assert text_of(await run(backend)) == "Yes."
        await provider.posts[0].gone.wait()


async def settled(backend: Backend) -> None:
    """Wait until finished responses have given their connections back."""
    opened: Any = backend._connection  # type: ignore[attr-defined]
    await asyncio.gather(*opened._draining)


# Cancelling


@pytest.mark.parametrize("tokens", [0, 1, 3])
@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_edge_18_giving_up_closes_the_connection_and_the_next_turn_is_clean(
    api: Dialect, provider: FaultServer, made: Make, tokens: int, how: str
) -> None:
    provider.play(stalling(sse(*(api.text(f"old{number}") for number in range(tokens)))), streaming(api.answer("new")))
    async with made() as backend:
        seen: list[BackendEvent] = []
        enough = asyncio.Event()
        events = backend.generate(ASKED)

        async def consume() -> None:
            async for event in events:
                seen.append(event)
                if text_of(seen).count("old") == tokens:
                    enough.set()

        consuming = asyncio.create_task(consume())
        exchange = await provider.asked()
        if tokens:
            await enough.wait()
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        if how == "close":
            await events.aclose()
            await events.aclose()
        await exchange.gone.wait()
        assert text_of(await run(backend)) == "new"


async def test_edge_18_closing_between_two_tokens_closes_the_connection(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(stalling(sse(api.text("a"))))
    async with made() as backend:
        events = backend.generate(ASKED)
        assert await anext(events) == TextDelta("a")
        await events.aclose()
        await provider.posts[0].gone.wait()


async def test_edge_18_giving_up_while_a_retry_is_awaited_sends_nothing_more(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    provider.play(answering(429, {"error": {}}, retry_after="15"))
    async with made() as backend:
        consuming = asyncio.create_task(run(backend))
        await provider.asked()
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming
        assert len(provider.posts) == 1


async def test_many_answers_at_once_do_not_mix(api: Dialect, provider: FaultServer, made: Make) -> None:
    async def echo(exchange: Exchange) -> None:
        (message,) = exchange.body.get("messages") or exchange.body["input"]
        await streaming(api.answer(*message["content"]))(exchange)

    provider.play(echo)
    asked = [f"question number {number}" for number in range(20)]
    async with made() as backend:
        answers = await asyncio.gather(
            *(run(backend, GenerationRequest((Message(Role.USER, (TextPart(text),)),))) for text in asked)
        )
    assert [text_of(answer) for answer in answers] == asked


def test_secrets_do_not_show(api: Dialect) -> None:
    settings = LlmSettings(llm_backend=api.backend, responses_api_api_key=KEY, model_name=MODEL)
    assert KEY not in repr(settings)
    assert KEY not in repr(vars(backends.create(settings)))
