"""What a conversation costs each service in processor time, on the embedded models: what docs/operations.md sizes by.

python -m benchmarks.sizing [--turns 8] [--turn_s 10]
"""

import argparse
import asyncio

import psutil
import soundfile

from benchmarks.real_stack import QUESTIONS, real_stack, speak
from benchmarks.report import save, show

WARM_TURNS = 2


async def main() -> None:
    """Talk, one turn after another, and divide each process's time by them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--turn_s", type=float, default=10.0, help="seconds from turn to turn of a conversation")
    args = parser.parse_args()
    async with real_stack() as servers:
        address = servers["orchestrator"].address
        for number in range(WARM_TURNS):
            await speak(address, QUESTIONS[number % len(QUESTIONS)])
        processes = {name: psutil.Process(server.pid) for name, server in servers.items()}
        before = {name: _cpu_s(process) for name, process in processes.items()}
        asked = [QUESTIONS[number % len(QUESTIONS)] for number in range(args.turns)]
        for question in asked:
            await speak(address, question)
        per_turn = {name: (_cpu_s(process) - before[name]) / args.turns for name, process in processes.items()}
    speech_s = sum(soundfile.info(question).duration for question in asked) / len(asked)
    figures = {
        name: {"cpu_s_per_turn": round(spent, 3), "conversations_a_core": round(args.turn_s / spent, 1)}
        for name, spent in per_turn.items()
    }
    everything = sum(per_turn.values())
    figures["all"] = {
        "cpu_s_per_turn": round(everything, 3),
        "conversations_a_core": round(args.turn_s / everything, 1),
    }
    title = f"A turn of {speech_s:.1f} s of speech every {args.turn_s:g} s"
    show(title, ["service", "CPU s a turn", "conversations a core"], [[n, *f.values()] for n, f in figures.items()])
    save("sizing", {"turns": args.turns, "speech_s": round(speech_s, 2), "turn_s": args.turn_s, "figures": figures})


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    asyncio.run(main())
