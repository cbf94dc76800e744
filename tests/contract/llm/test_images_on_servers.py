"""Images on real OpenAI-compatible servers whose model sees none."""

import contextlib
from pathlib import Path

import pytest

from services.common.errors import InvalidArgumentError
from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.domain import Finished, GenerationRequest, ImagePart, Message, Role, Sampling, TextPart
from tests.support.backend_kinds import KINDS, Kind
from tests.support.openai_servers import Servers
from tests.support.pictures import picture

pytestmark = pytest.mark.asyncio(loop_scope="session")

# `transformers serve` says nothing: for a model of texts it leaves the images out.
SERVED = [kind for kind in KINDS if kind.server and kind.server != "transformers serve"]
PICTURE = ImagePart(picture("JPEG", (200, 150)), media_type="image/jpeg")
QUESTION = TextPart("What is this?")


async def tokens_of(backend: Backend, *parts: ImagePart | TextPart) -> int:
    request = GenerationRequest((Message(Role.USER, parts),), Sampling(max_output_tokens=4))
    async with contextlib.aclosing(backend.generate(request)) as events:
        finished = [event async for event in events][-1]
    assert isinstance(finished, Finished)
    assert finished.usage is not None
    return finished.usage.input_tokens


@pytest.mark.models
@pytest.mark.parametrize("kind", SERVED, ids=lambda kind: kind.name)
async def test_a_server_whose_model_sees_nothing_is_understood(kind: Kind, servers: Servers, tool_model: Path) -> None:
    backend = backends.create(kind.settings(tool_model, await servers(kind.server)))
    await backend.load()
    try:
        with pytest.raises(InvalidArgumentError, match="takes no images") as caught:
            await tokens_of(backend, PICTURE, QUESTION)
        assert caught.value.field == "messages"
        assert await tokens_of(backend, QUESTION)
    finally:
        await backend.aclose()
