"""Time is virtual in the orchestrator's unit tests."""

import asyncio
from collections.abc import Callable, Mapping

from tests.support.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Loops whose clock jumps."""
    return {"virtual_time": VirtualTimeLoop}
