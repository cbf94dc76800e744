"""Images on their way to a provider: whatever a client sends, both APIs get bytes, in their own words."""

import base64
import contextlib
from typing import Any

import pytest

from services.common.errors import InvalidArgumentError
from services.llm import backends
from services.llm.backends.api.failures import of_status
from services.llm.domain import Finished, GenerationRequest, ImagePart, Message, Role, TextPart
from services.llm.images.images import Images
from services.llm.images.limits import ImageLimits
from services.llm.settings import LlmSettings
from tests.support.dialects import DIALECTS, Dialect
from tests.support.fault_server import MODEL, fault_server, streaming
from tests.support.image_server import image_server, ok
from tests.support.pictures import movie, picture

PICTURE = picture("WEBP")
LIMITS = ImageLimits(100_000, 1_000_000, 0, 2, 100_000, 20.0, allow_http=True, allow_private_hosts=True)


@pytest.mark.parametrize("api", DIALECTS, ids=lambda dialect: dialect.backend)
async def test_a_provider_sees_urls_and_bytes_alike(api: Dialect) -> None:
    async with image_server() as web, fault_server() as provider:
        web.answers["/a"] = ok(PICTURE)
        provider.play(streaming(api.answer("A square.")))
        images = Images(LIMITS)
        backend = backends.create(
            LlmSettings(llm_backend=api.backend, model_name=MODEL, responses_api_base_url=provider.url)
        )
        await backend.load()
        try:
            assert backend.capabilities.images
            url, data = ImagePart(url=f"http://127.0.0.1:{web.port}/a"), ImagePart(movie("GIF"))
            earlier = Message(Role.USER, (ImagePart(b"long ago"), TextPart("And this?")))
            asked = (earlier, Message(Role.ASSISTANT, (TextPart("Well."),)), Message(Role.USER, (url, data)))
            request = GenerationRequest(await images.load(asked, new=1))
            async with contextlib.aclosing(backend.generate(request)) as events:
                assert isinstance([event async for event in events][-1], Finished)
        finally:
            await backend.aclose()
            await images.aclose()
        (post,) = provider.posts
    webp = f"data:image/webp;base64,{base64.b64encode(PICTURE).decode()}"
    messages = post.body.get("messages") or post.body["input"]
    assert _seen(messages[0]) in (["[an earlier image]", "And this?"], ["[an earlier image]\nAnd this?"])
    first, second = _seen(messages[-1])
    assert first == webp
    assert second.startswith("data:image/png;base64,")


def _seen(message: dict[str, Any]) -> list[str]:
    """The parts of a message, as the API has them: texts and image URLs."""
    content = message["content"]
    return [content] if isinstance(content, str) else [_value(part) for part in content]


def _value(part: dict[str, Any]) -> str:
    if part["type"] == "image_url":  # chat completions
        return str(part["image_url"]["url"])
    return str(part["image_url"] if part["type"] == "input_image" else part["text"])


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (404, "No endpoints found that support image input"),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (404, "Only 'text' content type is supported."),
        (400, "my-model is not a multimodal model"),
        (400, "this model does not support images"),
    ],
)
def test_a_provider_whose_model_takes_no_images_is_understood_at_once(status: int, told: str) -> None:
    failure = of_status(status, {}, {"error": {"message": told}})
    assert isinstance(failure.error, InvalidArgumentError)
    assert (failure.error.message, failure.error.field) == ("this model takes no images", "messages")
    assert not failure.may_pass
