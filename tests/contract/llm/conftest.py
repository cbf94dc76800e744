"""What the contract tests share."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.common.model_thread import Stop
from services.llm.settings import LlmSettings
from services.llm.weights import EMBEDDED, locate
from tests.support.fast_blas import use_fast_blas
from tests.support.openai_servers import OpenAiServer, Servers, openai_server, with_tools

use_fast_blas()


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The folder of the embedded model."""
    return locate(EMBEDDED, "float32", LlmSettings().cache_dir, Stop())


@pytest.fixture(scope="session")
def tool_model(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the embedded model, with a chat template that has tools."""
    return with_tools(embedded, tmp_path_factory.mktemp("smollm2-tools"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(request: pytest.FixtureRequest) -> AsyncIterator[Servers]:
    """Starts a real server by its name, once."""
    async with contextlib.AsyncExitStack() as stack:
        running: dict[str, OpenAiServer] = {}

        async def start(name: str) -> OpenAiServer:
            if name not in running:
                model = request.getfixturevalue("tool_model")
                running[name] = await stack.enter_async_context(openai_server(name, model))
            return running[name]

        yield start
