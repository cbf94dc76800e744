"""Every speech engine that runs here, in one table: how well and how fast it hears, how soon it speaks.

    python -m benchmarks.speech [--part stt|tts|noise] [--engine NAME] [--speakers 1 4 8 16] [--show]

An engine a call (or all of them); what was measured of the others before stays in benchmarks/results/speech.json, and
the tables show all of it (--show measures nothing).
- stt: word error rate and real-time factor of four recordings; then so many live speakers at once, each at the speed of
  speech with end_silence 0.5 s: from the end of speech (told from its loudness) to the final transcript.
- tts: to the first audio of a sentence of 12 words, and the real-time factor, for so many speakers at once.
- noise: words that were heard in ten minutes of what is no speech; with `lowered`, the detector is made to take nearly
  everything for speech, so that the guards behind it are tried.
"""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from google.protobuf.duration_pb2 import Duration
from parley.common.v1 import audio_pb2
from parley.stt.v1 import stt_service_pb2 as stt_pb
from parley.stt.v1 import stt_service_pb2_grpc as stt_grpc
from parley.tts.v1 import tts_service_pb2 as tts_pb
from parley.tts.v1 import tts_service_pb2_grpc as tts_grpc

from benchmarks.real_stack import end_of_speech_s
from benchmarks.report import load, milliseconds, save, show
from services.common.errors import OverloadedError
from services.common.status import from_rpc_error
from tests.support.recordings import SAMPLES, TEXTS, errors, recorded
from tests.support.servers import RunningServer, running
from tests.support.sounds import SOUNDS, sound
from tests.support.speech_studio import speech_studio
from tests.support.stt_client import audio, config, opening, stream, transcribe
from tests.support.stt_doubles import pcm16, silence
from tests.support.transcription_server import transcription_server

STT: dict[str, tuple[str, ...]] = {
    "faster-whisper base + tiny.en": (),
    "faster-whisper tiny.en": ("--stt_model_name=package:whisper-tiny.en", "--stt_interim_model_name="),
    "transformers Whisper base": ("--stt=transformers",),
    "openai-api (Whisper base)": ("--stt=openai-api", "--stt_model_name=whisper-1", "--stt_workers=1"),
}
TTS: dict[str, tuple[str, ...]] = {
    "hibari": ("--tts=hibari",),
    "kokoro": ("--tts=kokoro",),
    "piper": ("--tts=piper",),
    "espeak-ng": ("--tts=espeak-ng",),
    "openai-api (studio)": ("--tts=openai-api", "--tts_api_timeout_s=60"),
}
SENTENCE = "The museum in the old town opens its doors at ten o'clock."
FRAME_S, PAUSE_S, END_SILENCE_S = 0.04, 1.5, 0.5
ROUNDS = 3
LOWERED = "0.03"


@contextlib.asynccontextmanager
async def started(service: str, flags: tuple[str, ...]) -> AsyncIterator[RunningServer]:
    """The service with these flags, and the server of another vendor behind it where it asks one."""
    async with contextlib.AsyncExitStack() as stack:
        if "--stt=openai-api" in flags:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            flags = (*flags, f"--stt_api_base_url={await stack.enter_async_context(transcription_server(folder))}")
        if "--tts=openai-api" in flags:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            flags = (*flags, f"--tts_api_base_url={await stack.enter_async_context(speech_studio(folder))}")
        yield await stack.enter_async_context(running(service, *flags))


def resident_mb(server: RunningServer) -> int:
    """Memory of the service's process."""
    return round(psutil.Process(server.pid).memory_info().rss / 1e6)


async def accuracy(address: str) -> dict[str, float]:
    """Word error rate of all recordings together, and the time in the model for a second of audio."""
    heard = [await transcribe(address, pcm16(recorded(name))) for name in TEXTS]
    done = [result.of("completed")[0] for result in heard]
    model_s = sum(event.processing_duration.ToNanoseconds() for event in done)
    audio_s = sum(event.audio_duration.ToNanoseconds() for event in done)
    wrong = errors(" ".join(result.text for result in heard), *TEXTS)
    return {"word_errors_percent": round(wrong * 100, 1), "real_time_factor": round(model_s / audio_s, 3)}


class Speaker:
    """Says all recordings, beginning with another one than the speaker before, with a pause behind each."""

    def __init__(self, number: int) -> None:
        names = list(TEXTS)
        self.names = names[number % len(names) :] + names[: number % len(names)]
        self._delay_s = (number * 0.37) % 2.0
        parts, self._ends, at_s = [], list[tuple[float, float]](), 0.0
        for name in self.names:
            parts += [recorded(name), silence(PAUSE_S)]
            end_s = at_s + len(recorded(name)) / 16_000
            self._ends.append((end_s + PAUSE_S / 2, at_s + end_of_speech_s(SAMPLES / f"austen_{name}.wav")))
            at_s = end_s + PAUSE_S
        self._audio = pcm16(*parts)
        self.finals: list[tuple[float, float, str]] = []
        self.interims = 0
        self.refused = False

    async def speak(self, address: str) -> None:
        """At the speed of speech; notes when each final transcript came, by the clock of the audio."""
        await asyncio.sleep(self._delay_s)
        loop = asyncio.get_running_loop()
        begun = loop.time()

        async def requests() -> AsyncIterator[stt_pb.StreamingTranscribeRequest]:
            yield opening(config(enable_interim_results=True), end_silence=Duration(nanos=round(END_SILENCE_S * 1e9)))
            for number, message in enumerate(audio(self._audio, round(FRAME_S * 32_000)), 1):
                await asyncio.sleep(begun + number * FRAME_S - loop.time())
                yield message

        try:
            async with grpc.aio.insecure_channel(address) as channel:
                async for event in stt_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(requests()):
                    if event.WhichOneof("event") != "transcript":
                        continue
                    heard = event.transcript
                    if heard.is_final:
                        end_s = heard.end_offset.ToNanoseconds() / 1e9
                        self.finals.append((loop.time() - begun, end_s, heard.text))
                    else:
                        self.interims += 1
        except grpc.aio.AioRpcError as error:
            if not isinstance(from_rpc_error(error), OverloadedError):
                raise
            self.refused = True

    @property
    def delays_s(self) -> list[float]:
        """From the end of each recording's speech to the last final transcript of it."""
        delays, before_s = [], 0.0
        for until_s, end_s in self._ends:
            came = [at_s for at_s, heard_end_s, _ in self.finals if before_s < heard_end_s <= until_s]
            delays += [came[-1] - end_s] if came else []
            before_s = until_s
        return delays


async def live(address: str, count: int) -> dict[str, Any]:
    """So many speakers at once."""
    speakers = [Speaker(number) for number in range(count)]
    await asyncio.gather(*(speaker.speak(address) for speaker in speakers))
    served = [speaker for speaker in speakers if not speaker.refused]
    delays = [delay for speaker in served for delay in speaker.delays_s]
    wrong = [errors(" ".join(text for _, _, text in speaker.finals), *speaker.names) for speaker in served]
    return {
        "served": len(served),
        "finals": len(delays),
        "final_after_ms": milliseconds(delays),
        "word_errors_percent": round(float(np.mean(wrong)) * 100, 1),
        "interims_per_utterance": round(sum(speaker.interims for speaker in served) / max(1, len(delays)), 1),
    }


async def measure_stt(name: str, counts: list[int]) -> dict[str, Any]:
    """One engine that hears."""
    async with started("stt", STT[name]) as server:
        figures: dict[str, Any] = await accuracy(server.address)
        figures["speakers"] = {str(count): await live(server.address, count) for count in counts}
        return {**figures, "resident_mb": resident_mb(server)}


async def say(address: str) -> tuple[float, float] | None:
    """Seconds to the first audio, and of audio; None where it is refused."""
    pcm = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=24_000)
    request = tts_pb.SynthesizeRequest(text=SENTENCE, language_code="en", audio_format=pcm)
    begun, first_s, sent = time.monotonic(), 0.0, 0
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            async for response in tts_grpc.TextToSpeechServiceStub(channel).Synthesize(request):
                if response.HasField("audio"):
                    first_s = first_s or time.monotonic() - begun
                    sent += len(response.audio.data)
        except grpc.aio.AioRpcError as error:
            if not isinstance(from_rpc_error(error), OverloadedError):
                raise
            return None
    return first_s, sent / 48_000


async def measure_tts(name: str, counts: list[int]) -> dict[str, Any]:
    """One engine that speaks."""
    async with started("tts", TTS[name]) as server:
        await say(server.address)
        speakers = {}
        for count in counts:
            begun = time.monotonic()
            asked: list[tuple[float, float] | None] = []
            for _ in range(ROUNDS):
                asked += await asyncio.gather(*(say(server.address) for _ in range(count)))
            spoken = [result for result in asked if result is not None]
            wall_s, audio_s = time.monotonic() - begun, sum(result[1] for result in spoken)
            speakers[str(count)] = {
                "served": round(len(spoken) / ROUNDS, 1),
                "first_audio_ms": milliseconds([result[0] for result in spoken]),
                "real_time_factor": round(wall_s / audio_s, 3),
            }
        return {"speakers": speakers, "resident_mb": resident_mb(server)}


async def measure_noise(name: str, counts: list[int]) -> dict[str, Any]:
    """Words heard where there are none."""
    data = {kind: pcm16(sound(kind)) for kind in SOUNDS}
    words: dict[str, dict[str, str]] = {"as_it_is": {}, "lowered": {}}
    for way, flags in (("as_it_is", ()), ("lowered", (f"--endpoint_speech_threshold={LOWERED}",))):
        async with started("stt", (*STT[name], *flags)) as server:
            for kind, sent in data.items():
                messages = [opening(config(enable_interim_results=True)), *audio(sent, 16_000)]
                heard = (await stream(server.address, messages), await transcribe(server.address, sent))
                said = [text.text for result in heard for text in result.of("transcript") if text.text]
                if said or any(result.error for result in heard):
                    words[way][kind] = " | ".join(said) or "failed"
    return {"minutes": round(sum(map(len, data.values())) / 32_000 / 60, 1), "heard": words}


PARTS: dict[str, tuple[dict[str, tuple[str, ...]], Callable[[str, list[int]], Awaitable[dict[str, Any]]]]] = {
    "stt": (STT, measure_stt),
    "tts": (TTS, measure_tts),
    "noise": (STT, measure_noise),
}


def tables(result: dict[str, Any]) -> None:
    """All that is known."""
    rows = [
        [name, count, at["word_errors_percent"], f"{f['real_time_factor']:.2f}", f["resident_mb"], at["served"]]
        + [at["final_after_ms"][key] for key in ("median", "p90", "max")]
        + [at["interims_per_utterance"]]
        for name, f in result.get("stt", {}).items()
        for count, at in f["speakers"].items()
    ]
    columns = ["engine", "speakers", "WER %", "RTF", "MB", "served", "final ms", "p90", "max", "interims"]
    show("Speech to text: final transcript after the end of speech, 0.5 s of silence included", columns, rows)
    rows = [
        [name, count, f"{at['real_time_factor']:.3f}", f["resident_mb"], f"{at.get('served', int(count)):g}"]
        + [at["first_audio_ms"][key] for key in ("median", "p90", "max")]
        for name, f in result.get("tts", {}).items()
        for count, at in f["speakers"].items()
    ]
    show("Text to speech: first audio", ["engine", "speakers", "RTF", "MB", "served", "first ms", "p90", "max"], rows)
    rows = [
        [name, f["minutes"], way, sum(len(text.split()) for text in heard.values()), "; ".join(heard)]
        for name, f in result.get("noise", {}).items()
        for way, heard in f["heard"].items()
    ]
    show("Noise, music and silence", ["engine", "minutes", "detector", "words", "in"], rows)


async def main() -> None:
    """Measure what was asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--engine", choices=[*STT, *TTS])
    parser.add_argument("--speakers", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--show", action="store_true", help="only the tables of what was measured before")
    args = parser.parse_args()
    for part in () if args.show else [args.part] if args.part else PARTS:
        engines, measure = PARTS[part]
        for name in [args.engine] if args.engine else engines:
            if name not in engines:
                continue
            try:
                figures = await measure(name, args.speakers)
            except RuntimeError as error:
                print(f"{name} does not start here: {str(error).splitlines()[-1][:200]}")
                continue
            result = load("speech")
            result.pop("machine", None)
            result.setdefault(part, {})[name] = figures
            save("speech", result)
    tables(load("speech"))


if __name__ == "__main__":
    asyncio.run(main())
