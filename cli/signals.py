"""What happens at Ctrl-C, where a command has something to finish first."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def at_signal(call: Callable[[], None]) -> Iterator[None]:
    """While the block runs, `call` this at each signal that asks the program to end, instead of ending."""
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
