"""Whether the metrics tell the truth: the time to the first audio as a client measures it, as the orchestrator tells
it of each turn, and as its metrics add it up by stage. Real gRPC, scripted stages with set delays.

A client speaks at the speed of speech and ends each turn itself. It measures from there to the first audio that it
reads. Fails where that differs from `TurnTimings` by more than 20 ms in any turn, or the stages' sum from
`parley_turn_response_seconds` by more than 5 %.

    python -m benchmarks.turn_latency [--turns 20]
"""

import argparse
import asyncio
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import milliseconds, save, show
from services.common.turn_stages import STAGES
from services.common.wire import seconds
from tests.support.stack import Conversation, conversation, fake_stack

STT_MS, FIRST_TOKEN_MS, TOKEN_MS, TTS_MS = 60, 120, 10, 80
LIMIT_S, LIMIT_RATIO = 0.020, 0.05
_FRAME_S = 0.02
_FRAMES = 25


async def turn(client: Conversation) -> tuple[float, float]:
    """Half a second of speech and its answer: seconds to the first audio, by the client's clock and by the server's."""
    due = time.monotonic()
    for _ in range(_FRAMES):
        due += _FRAME_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        ended = time.monotonic()
        await client.append(bytes(640))
    await client.commit()
    await client.until("response_output_audio_delta")
    measured_s = time.monotonic() - ended
    done = await client.until("response_done")
    return measured_s, seconds(done.timings.first_audio)


def sums(page: str) -> tuple[float, dict[str, float]]:
    """Seconds of all responses, and of their stages, from an orchestrator's metrics."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    stages = {s.labels["stage"]: s.value for s in samples if s.name == "parley_turn_stage_seconds_sum"}
    return sum(s.value for s in samples if s.name == "parley_turn_response_seconds_sum"), stages


async def main() -> None:
    """Print the table; fails where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    flags = {
        "stt": (f"--fake_stt_delay_ms={STT_MS}",),
        "llm": (f"--fake_first_token_ms={FIRST_TOKEN_MS}", f"--fake_token_ms={TOKEN_MS}"),
        "tts": (f"--fake_tts_delay_ms={TTS_MS}", "--fake_tts_ms_per_character=5"),
    }
    async with fake_stack(orchestrator=("--metrics_port=0",), **flags) as stack:
        async with conversation(stack["orchestrator"].address) as client:
            turns = [await turn(client) for _ in range(args.turns)]
        response_s, stages = sums(await stack["orchestrator"].metrics_page())

    apart = [abs(client_s - server_s) for client_s, server_s in turns]
    ratio = sum(stages.values()) / response_s
    figures: dict[str, Any] = {
        "client_ms": milliseconds([client_s for client_s, _ in turns]),
        "server_ms": milliseconds([server_s for _, server_s in turns]),
        "apart_ms": milliseconds(apart),
        "stages_ms": {stage: round(stages[stage] / args.turns * 1000, 1) for stage in STAGES},
        "response_ms": round(response_s / args.turns * 1000, 1),
        "stages_of_response": round(ratio, 4),
    }
    rows = [[name, *figures[f"{name}_ms"].values()] for name in ("client", "server", "apart")]
    show(f"First audio after the end of {args.turns} turns, ms", ["by", "median", "p90", "lowest", "highest"], rows)
    show("Stages, mean ms", ["stage", "ms"], [*figures["stages_ms"].items(), ("response", figures["response_ms"])])
    save("turn_latency", {"turns": args.turns, **figures})
    if max(apart) > LIMIT_S or abs(ratio - 1) > LIMIT_RATIO:
        raise SystemExit("the metrics and the client do not agree")


if __name__ == "__main__":
    asyncio.run(main())
