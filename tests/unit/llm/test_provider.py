"""Who the provider is, and what OpenAI itself is sent otherwise than the others."""

from typing import Any

import pytest

from services.llm import backends
from services.llm.backends.api import startup
from services.llm.backends.api.backend import ApiBackend
from services.llm.backends.api.provider import find_provider
from services.llm.domain import GenerationRequest, Message, Role, Sampling, TextPart
from services.llm.settings import LlmSettings

ASKED = GenerationRequest((Message(Role.USER, (TextPart("Hello?"),)),), Sampling(max_output_tokens=9))


def settings(url: str, backend: str = "responses-api", **flags: Any) -> LlmSettings:
    return LlmSettings(
        llm_backend=backend,  # type: ignore[arg-type]
        responses_api_base_url=url,
        responses_api_api_key="test-key",  # type: ignore[arg-type]
        **flags,
    )


@pytest.mark.parametrize(
    ("url", "is_openai", "is_local"),
    [
        ("", True, False),
        ("https://api.openai.com/v1", True, False),
        ("https://eu.api.openai.com/v1", True, False),
        ("https://mine.openai.azure.com/openai/v1", True, False),
        ("https://notopenai.com/v1", False, False),
        ("https://router.huggingface.co/v1", False, False),
        ("http://127.0.0.1:8080/v1", False, True),
        ("http://[::1]:8080/v1", False, True),
        ("http://localhost:8080/v1", False, True),
        ("http://10.0.0.1/v1", False, False),
    ],
)
def test_providers_are_told_apart_by_their_host(url: str, is_openai: bool, is_local: bool) -> None:
    provider = find_provider(settings(url))
    assert (provider.is_openai, provider.is_local) == (is_openai, is_local)
    assert "test-key" not in repr(provider)


async def body(url: str, backend: str, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> dict[str, Any]:
    """What a request to this address would carry; nothing is sent."""

    async def nothing(*_: object) -> int:
        return 0

    monkeypatch.setattr(startup, "check", nothing)
    made = backends.create(settings(url, backend, **flags))
    assert isinstance(made, ApiBackend)
    await made.load()
    try:
        return made._whole_body(ASKED)
    finally:
        await made.aclose()


async def test_openai_gets_its_own_names_and_nothing_that_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = await body("", "chat-completions", monkeypatch)
    assert (chat["model"], chat["max_completion_tokens"]) == ("gpt-5.4-mini", 9)
    assert not {"max_tokens", "chat_template_kwargs"} & set(chat)
    responses = await body("", "responses-api", monkeypatch, responses_api_reasoning_effort="low")
    assert (responses["max_output_tokens"], responses["store"]) == (9, False)
    assert responses["reasoning"] == {"effort": "low"}
    assert "chat_template_kwargs" not in responses


async def test_others_get_what_nearly_all_of_them_know(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = await body("http://vllm.example/v1", "chat-completions", monkeypatch)
    assert (chat["max_tokens"], chat["chat_template_kwargs"]) == (9, {"enable_thinking": False})
    responses = await body("http://vllm.example/v1", "responses-api", monkeypatch)
    assert responses["chat_template_kwargs"] == {"enable_thinking": False}
    assert "store" not in responses
