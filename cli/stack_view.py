"""Shows the programs starting: a table drawn anew while it changes, or plain lines where there is no terminal."""

import time
from types import TracebackType

from rich import box
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli.process import ServiceProcess, State
from cli.stack import Stack

_STYLES = {State.READY: "green", State.FAILED: "bold red", State.WAITING: "dim"}
_REFRESH_HZ = 8


class StackView:
    """Use as a context around `Stack.start`; `changed` is the stack's `on_change`.

    Args:
        live: draw a table; else print a line when a program listens and when it is ready.
    """

    def __init__(self, stack: Stack, console: Console, *, live: bool) -> None:
        self._stack = stack
        self._console = console
        self._live = Live(self, console=console, refresh_per_second=_REFRESH_HZ) if live else None
        self._showing = False
        self._printed: dict[str, State] = {}
        self._spinner = Spinner("dots")

    def __enter__(self) -> "StackView":
        self._showing = True
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._showing = False
        if self._live is not None:
            self._live.stop()

    def changed(self) -> None:
        """A program's state has changed."""
        if not self._showing or self._live is not None:
            return
        for name, process in self._stack.processes.items():
            if self._printed.get(name) is not process.state:
                self._printed[name] = process.state
                if process.state in (State.LOADING, State.READY):
                    self._console.print(Text(_line(name, process)), soft_wrap=True)

    def __rich__(self) -> Table:
        table = Table("program", "state", "address", box=box.SIMPLE_HEAD)
        table.add_column("time", justify="right")
        table.add_column("memory", justify="right")
        for name, process in self._stack.processes.items():
            moving = process.state in (State.STARTING, State.LOADING)
            state = Text(process.state.value, style=_STYLES.get(process.state, "yellow"))
            mark = self._spinner.render(time.monotonic()) if moving else Text(" ")
            shown = Text.assemble(mark, " ", state) if isinstance(mark, Text) else state
            took = "" if process.state is State.WAITING else f"{_took_s(process):.1f} s"
            table.add_row(name, shown, process.address, took, _memory(process))
        return table


def _line(name: str, process: ServiceProcess) -> str:
    if process.state is State.LOADING:
        return f"{name}: loading, at {process.address}"
    memory = _memory(process)
    return f"{name}: ready after {_took_s(process):.1f} s" + (f", {memory}" if memory else "")


def _took_s(process: ServiceProcess) -> float:
    until = process.changed_at if process.state in (State.READY, State.FAILED) else time.monotonic()
    return until - process.began_at


def _memory(process: ServiceProcess) -> str:
    resident = process.resident_bytes() if process.state is State.READY else None
    return f"{resident / 1e6:,.0f} MB" if resident else ""
