"""The event loop of every program: uvloop's, or asyncio's own where that is not installed, as on Windows."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

WriteToClosedError = RuntimeError
"""What uvloop raises where a lost connection is written to; asyncio's own loop lets that pass."""


def run(main: Coroutine[Any, Any, None], *, starts_programs: bool = False) -> None:
    """`asyncio.run` on that loop; on asyncio's own where programs are started.

    uvloop starts them by a fork that runs Python and the handlers of every library before the program: beside a
    model's threads one in ten died of SIGSEGV. asyncio's vfork runs nothing.
    """
    with asyncio.Runner(loop_factory=None if starts_programs else _of_uvloop()) as runner:
        runner.run(main)


def _of_uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import Loop
    except ModuleNotFoundError:
        return None

    class PunctualLoop(Loop):
        """uvloop reads its own clock once in each round of the loop, in milliseconds: work would seem to take no time,
        and a late loop to be on time.
        """

        time = staticmethod(time.monotonic)

    return PunctualLoop
