"""The callers of `benchmarks/overload.py`, in a process of their own.

`python -m benchmarks.overload_client KIND ADDRESS` takes commands on its standard input: `callers N` makes them so
many, `measure S` prints, S seconds later, a line of JSON about what they met meanwhile, `knock S` how soon one more
caller was refused who came again and again, and `probe` the seconds until a new caller's first answer was at the usual
pace. Callers are let in or refused, and come back: who was refused, after as
long as the server says.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from parley.common.v1 import audio_pb2, chat_pb2
from parley.llm.v1 import llm_service_pb2, llm_service_pb2_grpc
from parley.stt.v1 import stt_service_pb2, stt_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from benchmarks.load_client import parley_session
from services.common.channel import open_channel
from services.common.metrics import watch_event_loop
from services.common.status import from_rpc_error

PACE_S = {"session": 0.3, "stt": 0.1, "llm": 0.3, "tts": 0.1}
"""An answer within so many seconds is at the usual pace: from the end of the user's turn to the first audio, to the
final transcript; from the request to the last token, to the first audio.
"""
AT_ONCE_S = 0.01
_TURNS, _THINKING_S = 20, 0.5
_CHANNELS = 16
_COME_IN_S = 1.0
_PROBE_EVERY_S = 0.02
_KNOCK_EVERY_S = 0.05
_SPEECH = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
_TEXT = "Here is a sentence of some length to be spoken."

Visit = Callable[[grpc.aio.Channel], AsyncGenerator[float, None]]
"""One visit to the server: yields the seconds that each answer took."""


async def session(channel: grpc.aio.Channel) -> AsyncGenerator[float, None]:
    """A live session of some turns."""
    async with parley_session(channel) as turn:
        for _ in range(_TURNS):
            yield await turn()
            await _think()


async def stt(channel: grpc.aio.Channel) -> AsyncGenerator[float, None]:
    """A live stream of some utterances, each ended by its speaker."""
    request = stt_service_pb2.StreamingTranscribeRequest
    call: Any = stt_service_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
    config = stt_service_pb2.TranscriptionConfig(audio_format=_SPEECH)
    try:
        await call.write(request(config=stt_service_pb2.StreamingConfig(config=config, manual_end=True)))
        for _ in range(_TURNS):
            await call.write(request(audio=bytes(3200)))
            begun = time.monotonic()
            await call.write(request(force_end_of_utterance=stt_service_pb2.ForceEndOfUtterance()))
            while not (await call.read()).transcript.is_final:
                continue
            yield time.monotonic() - begun
            await _think()
    finally:
        call.cancel()


async def llm(channel: grpc.aio.Channel) -> AsyncGenerator[float, None]:
    """One generation without a conversation."""
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="Well?")])
    stub = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
    begun = time.monotonic()
    async for _ in stub.Generate(llm_service_pb2.GenerateRequest(messages=[message], enable_speech_segments=True)):
        continue
    yield time.monotonic() - begun
    await _think()


async def tts(channel: grpc.aio.Channel) -> AsyncGenerator[float, None]:
    """One segment of speech."""
    begun = time.monotonic()
    call: Any = tts_service_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(
        tts_service_pb2.SynthesizeRequest(text=_TEXT, audio_only=True)
    )
    await call.read()
    spent = time.monotonic() - begun
    while await call.read() is not grpc.aio.EOF:
        continue
    yield spent
    await _think()


VISITS: dict[str, Visit] = {"session": session, "stt": stt, "llm": llm, "tts": tts}


@dataclass
class Met:
    """What callers met since the last report."""

    since: float = field(default_factory=time.monotonic)
    answers_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    failures: int = 0
    lag_s: float = 0.0

    def report(self, pace_s: float, inside: int) -> dict[str, float]:
        """The figures."""
        over_s = time.monotonic() - self.since
        return {
            "inside": inside,
            "per_s": round(len(self.answers_s) / over_s, 1),
            "good_per_s": round(sum(span <= pace_s for span in self.answers_s) / over_s, 1),
            **_percentiles("answer", self.answers_s, (50, 95)),
            "refused_per_s": round(len(self.refusals_s) / over_s, 1),
            **_percentiles("refusal", self.refusals_s, (50, 99)),
            "failures": self.failures,
            "client_lag_ms": round(self.lag_s * 1000, 1),
        }


def _percentiles(name: str, spans: list[float], wanted: tuple[int, ...]) -> dict[str, float]:
    found = np.percentile(spans, wanted) if spans else [float("nan")] * len(wanted)
    return {f"{name}_p{q}_ms": round(float(span) * 1000, 1) for q, span in zip(wanted, found, strict=True)}


class Callers:
    """As many as are wanted, on a few connections."""

    def __init__(self, kind: str, channels: list[grpc.aio.Channel]) -> None:
        self._visit, self.pace_s, self._channels = VISITS[kind], PACE_S[kind], channels
        self._tasks: list[asyncio.Task[None]] = []
        self.inside = 0
        self.met = Met()

    def loop_lag(self, seconds: float) -> None:
        """The event loop woke up so many seconds late."""
        self.met.lag_s = max(self.met.lag_s, seconds)

    async def become(self, wanted: int) -> None:
        """Call, or hang up; who comes, comes within a second."""
        while len(self._tasks) < wanted:
            self._tasks.append(asyncio.create_task(self._call(len(self._tasks))))
        leaving, self._tasks = self._tasks[wanted:], self._tasks[:wanted]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    async def knock(self, seconds: float) -> dict[str, float]:
        """How soon one caller is refused who comes again at once, and has this process and its connection alone."""
        spans, end = [], time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            try:
                async with contextlib.aclosing(self._visit(self._channels[0])) as answers:
                    await anext(answers)
            except grpc.aio.AioRpcError as error:
                if from_rpc_error(error).retry_after_s is not None:
                    spans.append(time.monotonic() - begun)
            await asyncio.sleep(_KNOCK_EVERY_S)
        at_once = sum(span <= AT_ONCE_S for span in spans) / len(spans) if spans else float("nan")
        return {"knocks": len(spans), **_percentiles("knock", spans, (50, 99)), "knocks_at_once": round(at_once, 3)}

    async def probe(self) -> float:
        """Seconds until a new caller has been answered at the usual pace."""
        begun = time.monotonic()
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async with contextlib.aclosing(self._visit(self._channels[0])) as answers:
                    if await anext(answers) <= self.pace_s:
                        return time.monotonic() - begun
            await asyncio.sleep(_PROBE_EVERY_S)

    async def _call(self, number: int) -> None:
        channel = self._channels[number % len(self._channels)]
        pause_s = random.uniform(0, _COME_IN_S)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = await self._once(channel)

    async def _once(self, channel: grpc.aio.Channel) -> float:
        """One visit; the seconds until the next."""
        begun, let_in = time.monotonic(), False
        try:
            async with contextlib.aclosing(self._visit(channel)) as answers:
                async for spent in answers:
                    self.inside += not let_in
                    let_in = True
                    self.met.answers_s.append(spent)
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            if let_in or failure.retry_after_s is None:
                self.met.failures += 1
            else:
                self.met.refusals_s.append(time.monotonic() - begun)
            return failure.retry_after_s or 1.0
        except RuntimeError:  # an error within a session
            self.met.failures += 1
        finally:
            self.inside -= let_in
        return 0.0


async def _think() -> None:
    await asyncio.sleep(_THINKING_S * random.uniform(0.5, 1.5))


async def main(kind: str, address: str) -> None:
    """Do as told until the end of the input."""
    async with contextlib.AsyncExitStack() as stack:
        opened = (open_channel(address, own_connection=True) for _ in range(_CHANNELS))
        callers = Callers(kind, [await stack.enter_async_context(channel) for channel in opened])
        watching = asyncio.create_task(watch_event_loop(callers))
        print("ready", flush=True)
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            answer: object = None
            if words[0] == "callers":
                await callers.become(int(words[1]))
            elif words[0] == "measure":
                callers.met = Met()
                await asyncio.sleep(float(words[1]))
                answer = callers.met.report(callers.pace_s, callers.inside)
            elif words[0] == "knock":
                answer = await callers.knock(float(words[1]))
            elif words[0] == "probe":
                answer = await callers.probe()
            print(json.dumps(answer), flush=True)
        await callers.become(0)
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
