"""What API backends send to a provider."""

import pytest

from services.common.errors import InvalidArgumentError
from services.llm.domain import (
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePart,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from tests.support.api_backends import ASKED, WEATHER, Make, run, text_of
from tests.support.dialects import Dialect, sse
from tests.support.fault_server import FaultServer, answering, stalling, streaming


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
