"""Resident memory of each service with the embedded models after some turns, and the processor time it uses idle.

python -m benchmarks.memory [--turns 3] [--idle_s 10]
"""

import argparse
import asyncio
import contextlib
import time

import psutil

from benchmarks.real_stack import QUESTIONS, real_stack, speak
from benchmarks.report import save, show

LIMITS_MB = {"orchestrator": 120, "stt": 700, "llm": 1300, "tts": 450}


async def main() -> None:
    """Talk, look at each process, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--idle_s", type=float, default=10.0)
    args = parser.parse_args()
    async with real_stack() as servers:
        for number in range(args.turns):
            await speak(servers["orchestrator"].address, QUESTIONS[number % len(QUESTIONS)])
        processes = {name: psutil.Process(server.pid) for name, server in servers.items()}
        before, begun = {name: _cpu_s(process) for name, process in processes.items()}, time.monotonic()
        await asyncio.sleep(args.idle_s)
        idle_s = time.monotonic() - begun
        figures = {
            name: {
                "resident_mb": round(process.memory_info().rss / 1e6),
                "limit_mb": LIMITS_MB[name],
                "idle_cpu_percent": round((_cpu_s(process) - before[name]) / idle_s * 100, 2),
            }
            for name, process in processes.items()
        }
    columns = ["service", "resident MB", "limit MB", "idle CPU %"]
    show("Memory after some turns, and idle processor time", columns, [[n, *f.values()] for n, f in figures.items()])
    save("memory", {"turns": args.turns, "figures": figures})


def _cpu_s(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


if __name__ == "__main__":
    asyncio.run(main())
