"""`parley top`: the services' metrics, drawn anew in the terminal."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from cli.errors import CliError
from cli.signals import at_signal
from cli.top.figures import Figures
from cli.top.view import frame
from cli.top.watch import Watch


async def run(
    addresses: Sequence[str],
    services: dict[str, str],
    *,
    interval_s: float,
    window_s: float,
    once: bool,
    console: Console,
) -> None:
    """Draw a frame at each interval until Ctrl-C; with `once`, or where there is no terminal, one of two readings.

    Args:
        addresses: `host:port` of each program's metrics.
        services: the names of those that are known.

    Raises:
        CliError: where there is one frame and no program is up.
    """
    watch = Watch(addresses, services, window_s)
    figures = Figures(await watch.read())
    if once or not console.is_terminal:
        await asyncio.sleep(interval_s)
        figures = Figures(await watch.read())
        console.print(frame(figures))
        if all(endpoint.now is None for endpoint in figures.endpoints):
            raise CliError("no program is up; `parley up` starts them, --metrics says where theirs are")
        return
    stop = asyncio.Event()
    first = frame(figures, console.height)
    with at_signal(stop.set), Live(first, console=console, screen=True, auto_refresh=False) as live:
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), interval_s)
            except TimeoutError:
                live.update(frame(Figures(await watch.read()), console.height), refresh=True)
