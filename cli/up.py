"""`parley up`: the whole stack on one machine, until Ctrl-C."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.errors import INTERRUPTED
from cli.log_lines import readable
from cli.plan import StackPlan
from cli.process import ServiceProcess
from cli.programs import ORCHESTRATOR
from cli.signals import at_signal
from cli.stack import Stack
from cli.stack_view import StackView


async def run(plan: StackPlan, *, log_dir: Path | None, verbose: bool, console: Console) -> int:
    """Start, say where, restart what dies, and stop everything at the first Ctrl-C (a second one kills).

    Returns:
        The exit code: 0, or INTERRUPTED where Ctrl-C came before all were ready.

    Raises:
        CliError: where a program cannot start, or dies too often; everything has been stopped by then.
    """
    interrupted = asyncio.Event()
    stack = Stack(
        plan.launches,
        log_dir=log_dir or plan.cache_dir / "logs",
        targets=plan.targets,
        on_change=lambda: view.changed(),
        on_line=lambda name, line: _print(console, readable(name, line)) if verbose else None,
        report=lambda line: _print(console, line),
    )
    view = StackView(stack, console, live=console.is_terminal and not verbose)
    with at_signal(lambda: stack.kill() if interrupted.is_set() else interrupted.set()):
        try:
            with view:
                ready = await _unless(interrupted, stack.start())
            if ready:
                _print_next_steps(stack, plan, console)
                await _unless(interrupted, stack.supervise())
        finally:
            if interrupted.is_set():
                _print(console, "Stopping …")
            begun = time.monotonic()
            await stack.stop()
    _print(console, f"Stopped in {time.monotonic() - begun:.1f} s.")
    return 0 if ready else INTERRUPTED


async def _unless(interrupted: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or drop it at the event; whether it was done. Raises what the work raises."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not working.done():
            working.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
    if working.cancelled():
        return False
    working.result()
    return True


def _print_next_steps(stack: Stack, plan: StackPlan, console: Console) -> None:
    address = stack.addresses[ORCHESTRATOR.name]
    where = "" if address == ORCHESTRATOR.default_target else f" --target {address}"
    logs = next(iter(stack.processes.values())).log_path.parent
    _print(console, f"Parley is ready at {address}. Logs: {logs}")
    _print(console, f"Try: parley talk question.wav -o answer.wav{where}   or: parley talk --mic{where}")
    if plan.page:
        _print(console, f"Or open {plan.page} in a browser; clients of the OpenAI Realtime API: {plan.page}v1")
    if watched := [process for process in stack.processes.values() if process.metrics_port]:
        _print(console, f"Watch: parley top{_metrics_flag(watched)}")
    for name, target in plan.targets.items():
        _print(console, f"The {name} service runs elsewhere, at {target}.")
    _print(console, "Ctrl-C stops everything.")


def _metrics_flag(processes: Sequence[ServiceProcess]) -> str:
    """What tells `parley top` where the metrics are; "" where it looks by itself."""
    if all(process.metrics_port == process.launch.program.metrics_port for process in processes):
        return ""
    return " --metrics " + ",".join(f"{process.launch.host}:{process.metrics_port}" for process in processes)


def _print(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
