"""End of speech to first audio byte, all models real, recordings at the speed of speech through `Converse`.

Side by side: answers begun at a pause (`--speculation`, the default), and answers begun when the turn is surely over.
The same recordings go to both, in turn, through the same three services. The end of speech is told from the loudness
of the recording; the endpointing wait is included. The stages are the server's own `TurnTimings`, each from the end of
speech. What speculation wastes is what the model wrote for answers that nobody heard.

    python -m benchmarks.voice_to_voice [--turns 12]
"""

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.real_stack import INSTRUCTIONS, QUESTIONS, end_of_speech_s, real_stack
from benchmarks.report import milliseconds, save, show
from cli.audio_files import SpeechFile
from cli.pacing import FRAME_S, paced
from services.common.wire import audio_format_message, seconds
from tests.support.servers import RunningServer, running

STAGES = ("endpointing", "final_transcript", "first_token", "first_segment", "first_audio")
CHARACTERS_PER_TOKEN = 4.2
"""Of English, with the embedded model's tokenizer."""
PATIENCE_S = 15.0
_SILENCE_FRAMES = round(5.0 / FRAME_S)


class Speaker:
    """Says recordings to one orchestrator, each in a session of its own, and gathers what came of them."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self.first_audio_s: list[float] = []
        self.stages_s: dict[str, list[float]] = {stage: [] for stage in STAGES}

    async def say(self, recording: Path, *, count: bool) -> None:
        """Say it, and stop the answer at its first audio."""
        with SpeechFile(recording) as source:
            async with grpc.aio.insecure_channel(self._server.address) as channel:
                call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
                config = pb.SessionConfig(
                    instructions=INSTRUCTIONS, input_audio_format=audio_format_message(source.format)
                )
                await call.write(pb.ConverseRequest(session_update=pb.SessionUpdate(session=config)))
                await call.read()
                clock = asyncio.get_running_loop()
                begun = clock.time()
                heard = asyncio.Event()
                sending = asyncio.create_task(_send(call, source, begun, heard))
                try:
                    async with asyncio.timeout(source.duration_s + PATIENCE_S):
                        await _until(call, "response_output_audio_delta")
                        heard_s = clock.time() - begun
                        heard.set()
                        await sending
                        await call.write(pb.ConverseRequest(response_cancel=pb.ResponseCancel()))
                        timings = (await _until(call, "response_done")).timings
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    call.cancel()
        if count:
            self.first_audio_s.append(heard_s - end_of_speech_s(recording))
            for stage in STAGES:
                self.stages_s[stage].append(seconds(getattr(timings, stage)))

    async def speculation(self) -> dict[str, float]:
        """What became of the answers begun at a pause, and what was written in vain."""
        text = await self._server.metrics_page()
        values = {
            (sample.name, sample.labels.get("outcome", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        wasted = values.get(("parley_speculation_wasted_characters_total", ""), 0.0)
        return {
            "confirmed": values.get(("parley_speculations_total", "confirmed"), 0.0),
            "discarded": values.get(("parley_speculations_total", "discarded"), 0.0),
            "saved_s": round(values.get(("parley_speculation_lead_seconds_total", ""), 0.0), 2),
            "wasted_tokens": round(wasted / CHARACTERS_PER_TOKEN),
        }


async def _send(call: Any, source: SpeechFile, begun: float, heard: asyncio.Event) -> None:
    """The recording, then silence, until the answer is heard."""
    frames = [*source.frames(FRAME_S), *([source.silence(FRAME_S)] * _SILENCE_FRAMES)]
    async for frame in paced(frames, begun):
        if heard.is_set():
            return
        await call.write(pb.ConverseRequest(input_audio_buffer_append=pb.InputAudioBufferAppend(audio=frame)))


async def _until(call: Any, kind: str) -> Any:
    while (message := await call.read()) is not grpc.aio.EOF:
        if message.WhichOneof("event") == kind:
            return getattr(message, kind)
        if message.WhichOneof("event") == "error":
            raise RuntimeError(message.error.message)
    raise RuntimeError(f"the session ended before {kind}")


async def main() -> None:
    """Speak, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--turns", type=int, default=12, help="recordings said to each, one after another, after a warm-up"
    )
    args = parser.parse_args()
    async with contextlib.AsyncExitStack() as stack:
        servers = await stack.enter_async_context(real_stack())
        targets = [f"--{name}_target={servers[name].address}" for name in ("stt", "llm", "tts")]
        speakers = {}
        for name, flag in (("on", "true"), ("off", "false")):
            flags = (*targets, f"--speculation={flag}", "--metrics_port=0")
            speakers[name] = Speaker(await stack.enter_async_context(running("orchestrator", *flags)))
        for number in range(-1, args.turns):
            for speaker in speakers.values():
                await speaker.say(QUESTIONS[number % len(QUESTIONS)], count=number >= 0)
        result: dict[str, Any] = {"turns": args.turns, "figures_ms": {}}
        rows = []
        for name, speaker in speakers.items():
            figures = {"client: end of speech to first audio": milliseconds(speaker.first_audio_s)}
            figures |= {
                f"server: end of speech to {stage.replace('_', ' ')}": milliseconds(spans)
                for stage, spans in speaker.stages_s.items()
            }
            result["figures_ms"][f"speculation {name}"] = figures
            rows += [[f"{name}: {figure}", *spans.values()] for figure, spans in figures.items()]
        result["speculation"] = await speakers["on"].speculation()
        medians = [milliseconds(speakers[name].first_audio_s)["median"] for name in ("on", "off")]
        result["ratio"] = round(medians[0] / medians[1], 2)
    show(f"Voice to voice by speculation, ms, {args.turns} turns each", ["", "median", "p90", "min", "max"], rows)
    print(f"on / off: {result['ratio']}; {result['speculation']}")
    save("voice_to_voice", result)


if __name__ == "__main__":
    asyncio.run(main())
