"""End of speech to first audio byte, all models real, recordings at the speed of speech through `Converse`.

Side by side: answers begun at a pause (`--speculation`, the default), and answers begun when the turn is surely over.
The same recordings go to both, in turn, through the same three services. The end of speech is told from the loudness
of the recording; the endpointing wait is included. The stages are the server's own `TurnTimings`, each from the end of
speech. What speculation wastes is what the model wrote, and the TTS spoke, for answers that nobody heard.

Three parts. `turns`: the default waits for the end of a turn. `patient`: 0.6 s, however finished it sounds; that is
when there is something to gain. `pauses`: the same wait, and recordings made of two with pauses of 0.3 to 0.6 s
between; an answer that begins before the second is counted as early.

    python -m benchmarks.voice_to_voice [--part turns patient pauses] [--turns 12]
"""

import argparse
import asyncio
import contextlib
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import soundfile
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import audio_pb2
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.real_stack import INSTRUCTIONS, QUESTIONS, end_of_speech_s, real_stack, start_of_speech_s
from benchmarks.report import load, milliseconds, save, show
from cli.audio_files import SpeechFile
from cli.pacing import FRAME_S, paced
from services.common.wire import audio_format_message, duration, seconds
from tests.support.servers import RunningServer, running

STAGES = ("endpointing", "final_transcript", "first_token", "first_segment", "first_audio")
CHARACTERS_PER_TOKEN = 4.2
"""Of English, with the embedded model's tokenizer."""
PATIENT = audio_pb2.EndpointingConfig(end_silence=duration(0.6))
PAUSES_S = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
"""Put between two recordings; with the quiet ends of their words, the pause is some 0.25 s longer for a detector."""
PATIENCE_S = 15.0
_SILENCE_FRAMES = round(5.0 / FRAME_S)
_ROOM_S = 0.3
"""Silence of the room kept before and after the speech of a recording that is put together."""


class Speaker:
    """Says recordings to one orchestrator, each in a session of its own, and gathers what came of them."""

    def __init__(self, server: RunningServer, endpointing: audio_pb2.EndpointingConfig | None) -> None:
        self._server = server
        self._endpointing = endpointing
        self.first_audio_s: list[float] = []
        self.stages_s: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.early = 0
        """Answers that were heard before the recording was over."""

    async def say(self, recording: Path, *, count: bool) -> None:
        """Say it, and stop the answer at its first audio."""
        with SpeechFile(recording) as source:
            async with grpc.aio.insecure_channel(self._server.address) as channel:
                call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
                config = pb.SessionConfig(
                    instructions=INSTRUCTIONS,
                    input_audio_format=audio_format_message(source.format),
                    turn_detection=pb.TurnDetection(endpointing=self._endpointing),
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
        if not count:
            return
        if (waited_s := heard_s - end_of_speech_s(recording)) < 0:
            self.early += 1
            return
        self.first_audio_s.append(waited_s)
        for stage in STAGES:
            self.stages_s[stage].append(seconds(getattr(timings, stage)))

    async def speculation(self) -> dict[str, float]:
        """What became of the answers begun at a pause so far, and what was written and spoken in vain."""
        text = await self._server.metrics_page()
        values = {
            (sample.name, sample.labels.get("outcome", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

        def value(name: str, outcome: str = "") -> float:
            return values.get((f"parley_speculation{name}_total", outcome), 0.0)

        return {
            "confirmed": value("s", "confirmed"),
            "discarded": value("s", "discarded"),
            "saved_s": value("_lead_seconds"),
            "wasted_tokens": value("_wasted_characters") / CHARACTERS_PER_TOKEN,
            "wasted_audio_s": value("_wasted_audio_seconds"),
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


def with_pauses(folder: Path) -> list[Path]:
    """Recordings of two sentences each, with a pause between them that is none of the recordings' own."""
    made = []
    pairs = itertools.cycle(itertools.permutations(QUESTIONS, 2))
    for number, (pause_s, (first, second)) in enumerate(zip(PAUSES_S, pairs, strict=False)):
        (speech, rate), (more, _) = _speech(first, after_s=0.0), _speech(second, before_s=0.0)
        made.append(folder / f"{number}.wav")
        soundfile.write(made[-1], np.concatenate([speech, np.zeros(round(pause_s * rate)), more]), rate)
    return made


def _speech(recording: Path, before_s: float = _ROOM_S, after_s: float = _ROOM_S) -> tuple[Any, int]:
    samples, rate = soundfile.read(recording)
    begins, ends = start_of_speech_s(recording) - before_s, end_of_speech_s(recording) + after_s
    return samples[max(0, round(begins * rate)) : round(ends * rate)], rate


async def part(
    title: str, recordings: Sequence[Path], endpointing: audio_pb2.EndpointingConfig | None, turns: int
) -> dict[str, Any]:
    """Say the recordings with speculation and without it; the figures of both."""
    async with contextlib.AsyncExitStack() as stack:
        servers = await stack.enter_async_context(real_stack())
        targets = [f"--{name}_target={servers[name].address}" for name in ("stt", "llm", "tts")]
        speakers = {}
        for name, flag in (("on", "true"), ("off", "false")):
            flags = (*targets, f"--speculation={flag}", "--metrics_port=0")
            speakers[name] = Speaker(await stack.enter_async_context(running("orchestrator", *flags)), endpointing)
        warm: dict[str, float] = {}
        for number in range(-1, turns):
            if number == 0:
                warm = await speakers["on"].speculation()
            for speaker in speakers.values():
                await speaker.say(recordings[number % len(recordings)], count=number >= 0)
        spent = {name: value - warm[name] for name, value in (await speakers["on"].speculation()).items()}
    result: dict[str, Any] = {"turns": turns, "figures_ms": {}}
    rows = []
    for name, speaker in speakers.items():
        figures = {"client: end of speech to first audio": milliseconds(speaker.first_audio_s)}
        figures |= {
            f"server: end of speech to {stage.replace('_', ' ')}": milliseconds(spans)
            for stage, spans in speaker.stages_s.items()
        }
        result["figures_ms"][f"speculation {name}"] = figures
        rows += [[f"{name}: {figure}", *spans.values()] for figure, spans in figures.items()]
    show(f"{title}, by speculation, ms, {turns} turns each", ["", "median", "p90", "min", "max"], rows)
    result["early"] = {name: speaker.early for name, speaker in speakers.items()}
    result["speculation"] = {name: round(value, 2) for name, value in spent.items()}
    result["ratio"] = round(
        milliseconds(speakers["on"].first_audio_s)["median"] / milliseconds(speakers["off"].first_audio_s)["median"], 2
    )
    shown = {**{f"early, {name}": speaker.early for name, speaker in speakers.items()}, **result["speculation"]}
    show(f"What it cost in {turns} turns; on / off: {result['ratio']}", list(shown), [[str(v) for v in shown.values()]])
    return result


async def main() -> None:
    """Measure the parts asked for; the results of the others stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["turns", "patient", "pauses"]
    parser.add_argument("--part", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--turns", type=int, default=12, help="recordings said to each, one after another, after a warm-up"
    )
    args = parser.parse_args()
    results = load("voice_to_voice")
    with tempfile.TemporaryDirectory() as folder:
        plans: dict[str, tuple[str, Sequence[Path], audio_pb2.EndpointingConfig | None]] = {
            "turns": ("Voice to voice", QUESTIONS, None),
            "patient": ("A wait of 0.6 s", QUESTIONS, PATIENT),
            "pauses": ("Pauses inside", with_pauses(Path(folder)), PATIENT),
        }
        for name in args.part:
            results[name] = await part(*plans[name], args.turns)
            save("voice_to_voice", {name: results[name] for name in names if name in results})


if __name__ == "__main__":
    asyncio.run(main())
