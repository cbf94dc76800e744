"""The embedded models behind the Realtime bridge."""

from collections.abc import AsyncIterator

import pytest_asyncio

from benchmarks.real_stack import real_stack
from tests.support.servers import RunningServer


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def orchestrator() -> AsyncIterator[RunningServer]:
    """Its answers are long enough to be interrupted."""
    async with real_stack("--llm_gen_min_new_tokens=100", orchestrator=("--realtime_port=0",)) as stack:
        yield stack["orchestrator"]
