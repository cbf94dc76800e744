"""From the user's first voiced frame to the last audio of the answer that they interrupt; all models real.

A recording is spoken into an answer at the speed of speech. Its first voiced frame is told from its loudness; the
client measures when it is told to stop (`speech_started`), and when the last audio of the interrupted answer came.

    python -m benchmarks.barge_in [--turns 8]
"""

import argparse
import asyncio
from pathlib import Path

from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2

from benchmarks.real_stack import QUESTIONS, real_stack, start_of_speech_s
from benchmarks.report import milliseconds, save, show
from tests.support.microphone import open_microphone, recording
from tests.support.stack import conversation

VOICE_DETECTION = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)
REQUEST = "Tell me a long story about a journey by train."
INTO_THE_ANSWER_S = 0.5
FOLLOWED = ("input_audio_buffer_speech_started", "response_output_audio_delta", "response_done")


async def interrupt(address: str, path: Path) -> tuple[float, float, float]:
    """Seconds from the first voiced frame to: the order to stop, the last audio (negative: before), the end."""
    loop = asyncio.get_running_loop()
    async with (
        conversation(address, turn_detection=VOICE_DETECTION) as client,
        open_microphone(client) as microphone,
    ):

        async def speak() -> float:
            await asyncio.sleep(INTO_THE_ANSWER_S)
            return microphone.say(recording(path)) + start_of_speech_s(path)

        item = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=REQUEST)])
        await client.send(conversation_item_create=pb.ConversationItemCreate(item=item))
        await client.send(response_create=pb.ResponseCreate())
        await client.until("response_output_audio_delta")
        speaking = asyncio.create_task(speak())
        stopped = last_audio = loop.time()
        while True:
            await client.until(*FOLLOWED)
            kind = client.kinds()[-1]
            if kind == "response_output_audio_delta":
                last_audio = loop.time()
            elif kind == "input_audio_buffer_speech_started":
                stopped = loop.time()
            else:
                if not speaking.done() or not client.events[-1].response_done.status == pb.RESPONSE_STATUS_CANCELLED:
                    raise RuntimeError("the answer was too short to be interrupted")
                voiced = await speaking
                return stopped - voiced, last_audio - voiced, loop.time() - voiced


async def main() -> None:
    """Interrupt, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=8, help="answers interrupted, one after another, after a warm-up")
    args = parser.parse_args()
    measured: list[tuple[float, float, float]] = []
    async with real_stack("--llm_gen_min_new_tokens=100") as servers:
        for number in range(-1, args.turns):
            path = QUESTIONS[number % len(QUESTIONS)]
            spans = await interrupt(servers["orchestrator"].address, path)
            measured += [spans] if number >= 0 else []
    names = ("told to stop", "last audio", "response done")
    figures = {name: milliseconds(spans) for name, spans in zip(names, zip(*measured, strict=True), strict=True)}
    title = f"From the first voiced frame of an interruption, ms, {args.turns} turns"
    show(title, ["", "median", "p90", "min", "max"], [[name, *spans.values()] for name, spans in figures.items()])
    save("barge_in", {"turns": args.turns, "figures_ms": figures})


if __name__ == "__main__":
    asyncio.run(main())
