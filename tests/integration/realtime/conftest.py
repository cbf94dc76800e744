"""The four real programs on fakes, with the bridge on."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.servers import RunningServer
from tests.support.stack import fake_stack


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def orchestrator() -> AsyncIterator[RunningServer]:
    """An orchestrator whose answers take a few seconds to play."""
    async with fake_stack(
        orchestrator=("--realtime_port=0", "--metrics_port=0"),
        tts=("--fake_tts_ms_per_character=12",),
    ) as stack:
        yield stack["orchestrator"]
