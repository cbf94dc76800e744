"""The one clock of the orchestrator."""

import asyncio


def now() -> float:
    """Seconds, monotonic: the time of the running event loop, so that timers and measurements agree; tests set it."""
    return asyncio.get_running_loop().time()
