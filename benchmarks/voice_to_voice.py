"""End of speech to first audio byte, all models real, recordings at the speed of speech through `Converse`.

The end of speech is told from the loudness of the recording; the endpointing wait is included. The stages are the
server's own `TurnTimings`, each as what it adds to the one before.

    python -m benchmarks.voice_to_voice [--turns 12]
"""

import argparse
import asyncio

from benchmarks.real_stack import QUESTIONS, end_of_speech_s, real_stack, speak
from benchmarks.report import milliseconds, save, show

STAGES = ("endpointing", "final_transcript", "first_token", "first_segment", "first_audio")


async def main() -> None:
    """Speak, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--turns", type=int, default=12, help="recordings said, one after another; the first is a warm-up"
    )
    args = parser.parse_args()
    client: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    async with real_stack() as servers:
        for number in range(args.turns + 1):
            recording = QUESTIONS[number % len(QUESTIONS)]
            turn = (await speak(servers["orchestrator"].address, recording))[-1]
            if number == 0:
                continue
            if turn.first_audio_s is None or turn.speech_end_s is None or turn.timings is None:
                raise RuntimeError(f"no answer to {recording.name}")
            client.append(turn.first_audio_s + turn.speech_end_s - end_of_speech_s(recording))
            reached = [getattr(turn.timings, f"{stage}_s") for stage in STAGES]
            for stage, at, before in zip(STAGES, reached, [0.0, *reached[:-1]], strict=True):
                stages[stage].append(at - before)
    figures = {"client: end of speech to first audio": milliseconds(client)}
    figures |= {f"server: {stage.replace('_', ' ')}": milliseconds(spans) for stage, spans in stages.items()}
    show(
        f"Voice to voice, ms, {args.turns} turns",
        ["", "median", "p90", "min", "max"],
        [[name, *spans.values()] for name, spans in figures.items()],
    )
    save("voice_to_voice", {"turns": args.turns, "figures_ms": figures})


if __name__ == "__main__":
    asyncio.run(main())
