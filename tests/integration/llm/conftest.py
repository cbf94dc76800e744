"""A provider that is played byte by byte, and API backends before it."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.settings import LlmSettings
from tests.support.api_backends import KEY, Make
from tests.support.dialects import DIALECTS, Dialect
from tests.support.fault_server import MODEL, FaultServer, fault_server


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
