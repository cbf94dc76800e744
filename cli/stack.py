"""The four programs together: started in order, watched, restarted when one dies, stopped in order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.errors import CliError
from cli.process import Launch, ProgramEnded, ServiceProcess
from cli.programs import ORCHESTRATOR
from services.common.task_groups import first_error

RESTARTS = 3
RESTART_WINDOW_S = 60.0
RESTART_DELAY_S = 1.0


@dataclass
class RestartBudget:
    """At most `limit` restarts within `window_s` seconds."""

    limit: int = RESTARTS
    window_s: float = RESTART_WINDOW_S
    _begun: deque[float] = field(default_factory=deque)

    def take(self, now: float) -> bool:
        """Whether one more is allowed at this time; it is counted if so."""
        while self._begun and now - self._begun[0] >= self.window_s:
            self._begun.popleft()
        if len(self._begun) >= self.limit:
            return False
        self._begun.append(now)
        return True


class Stack:
    """The programs as child processes; `start`, then perhaps `supervise`, and always `stop`.

    Args:
        launches: what to start. The orchestrator, if it is among them, starts once the others have ports.
        targets: where services that are not started here listen, by name.
        log_dir: folder for a log file of each program; those of an earlier run are replaced.
        on_change: called when the state of a program changes.
        on_line: called with a program's name and each line that it prints.
        report: called with a line for the user.
    """

    def __init__(
        self,
        launches: Sequence[Launch],
        *,
        log_dir: Path,
        targets: dict[str, str] | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_line: Callable[[str, str], None] = lambda _name, _line: None,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._log_dir = log_dir
        self._targets = targets or {}
        self._on_change, self._on_line, self._report = on_change, on_line, report
        self.processes = {launch.program.name: self._process(launch) for launch in launches}

    @property
    def addresses(self) -> dict[str, str]:
        """`host:port` of each program, of those that run elsewhere too."""
        return self._targets | {name: process.address for name, process in self.processes.items()}

    async def start(self) -> None:
        """Start all and wait until all are healthy.

        Raises:
            CliError: naming the first program that ended instead; stop the others then.
        """
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for process in self.processes.values():
            process.log_path.write_text("")
        with first_error(CliError):
            async with asyncio.TaskGroup() as group:
                services = [p for name, p in self.processes.items() if name != ORCHESTRATOR.name]
                for process in services:
                    await process.start()
                listening = [group.create_task(process.until_listening()) for process in services]
                ready = [group.create_task(process.until_ready()) for process in services]
                await asyncio.gather(*listening)
                if (orchestrator := self.processes.get(ORCHESTRATOR.name)) is not None:
                    await orchestrator.start(*self._target_flags())
                    await orchestrator.until_ready()
                await asyncio.gather(*ready)

    async def supervise(self) -> None:
        """Watch for ever; a program that ends is named and, a second later, started again on its port.

        Raises:
            CliError: where one ends too often.
        """
        with first_error(CliError):
            async with asyncio.TaskGroup() as group:
                for name in self.processes:
                    group.create_task(self._keep_alive(name))

    async def restart(self, name: str) -> None:
        """Start a program that has ended again, on the same port, so that those who know it find it; wait for it.

        Raises:
            ProgramEnded: where it ends instead.
        """
        dead = self.processes[name]
        process = self._process(dead.launch)
        self.processes[name] = process
        flags = [f"--port={dead.port}"] if dead.port else []
        await process.start(*flags, *(self._target_flags() if name == ORCHESTRATOR.name else []))
        await process.until_ready()

    async def stop(self) -> None:
        """Let the orchestrator finish what runs, then the services; each is killed once its grace is over."""
        orchestrator = self.processes.get(ORCHESTRATOR.name)
        if orchestrator is not None:
            await orchestrator.stop()
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    def kill(self) -> None:
        """End all at once."""
        for process in self.processes.values():
            process.kill()

    async def _keep_alive(self, name: str) -> None:
        budget = RestartBudget()
        while True:
            process = self.processes[name]
            ended = await process.ended()
            await process.stop()
            if not budget.take(time.monotonic()):
                raise CliError(f"{ended} (given up after {RESTARTS} restarts within {RESTART_WINDOW_S:.0f} s)")
            self._report(f"{ended}; starting it again")
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                await self.restart(name)
            except ProgramEnded:
                continue  # it counts as one more end
            self._report(f"{process.launch.program.title} is back")

    def _target_flags(self) -> list[str]:
        """Where the orchestrator finds the services."""
        return [f"--{name}_target={address}" for name, address in self.addresses.items() if name != ORCHESTRATOR.name]

    def _process(self, launch: Launch) -> ServiceProcess:
        name = launch.program.name
        return ServiceProcess(
            launch,
            self._log_dir / f"{name}.log",
            on_line=lambda line: self._on_line(name, line),
            on_change=self._on_change,
        )
