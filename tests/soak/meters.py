"""What each process has, now and over time."""

import asyncio
import re
import time

import psutil

from tests.soak.growth import MEASURES, Sample
from tests.soak.world import World
from tests.support.servers import RunningServer

EVERY_S = 2.0
_TASKS = re.compile(r"^parley_event_loop_tasks (\S+)", re.MULTILINE)


class Meters:
    """Series of samples by process: a restarted server is another one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun = time.monotonic()
        self.series: dict[str, list[Sample]] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, sample in (await self.sample()).items():
                self.series.setdefault(name, []).append(sample)
            await asyncio.sleep(EVERY_S)

    async def sample(self) -> dict[str, Sample]:
        """What each process has now; one that is just dying or frozen is left out."""
        servers = {
            f"{name} ({replica.server.pid})": replica.server
            for name, replica in self._world.replicas.items()
            if replica.server.process.returncode is None
        }
        read = await asyncio.gather(*(self._read(server) for server in servers.values()), return_exceptions=True)
        return {name: sample for name, sample in zip(servers, read, strict=True) if isinstance(sample, Sample)}

    async def _read(self, server: RunningServer) -> Sample:
        async with asyncio.timeout(EVERY_S):
            page = await server.metrics_page()
        tasks = _TASKS.search(page)
        process = psutil.Process(server.pid)
        values = {
            "memory MB": process.memory_info().rss / 1e6,
            "file descriptors": process.num_fds(),
            "tasks": float(tasks.group(1)) if tasks else float("nan"),
            "threads": process.num_threads(),
        }
        return Sample(time.monotonic() - self._begun, tuple(values[measure] for measure in MEASURES))
