"""The client of `benchmarks/overhead.py`, in a process of its own so that it takes no time from what is measured.

`python -m benchmarks.load_client turns|loop|listen bare|parley ADDRESS SESSIONS COUNT` opens the sessions and prints
"ready"; then, at each line on its standard input, it speaks COUNT turns (or sends audio for COUNT seconds; asking for
answers meanwhile where the line is "ask") on all of them and prints what it measured as a line of JSON.
"""

import asyncio
import base64
import contextlib
import functools
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2
from websockets.asyncio.client import connect

from benchmarks.bare_chain import CONVERSE, LISTEN, QUESTION
from services.common import event_loop

_CONVERSE = "/parley.agent.v1.VoiceAgentService/Converse"
_AUDIO = bytes(3200)
"""A tenth of a second in the session's input format."""
_REALTIME_RATE_HZ = 24_000
_TONE = (b"\x00\x40" * 24 + b"\x00\xc0" * 24) * 150
"""Three tenths of a second that the fake recogniser takes for a voice, in the bridge's own format."""
_FRAME_S = 0.02
_FRAME = bytes(640)
_GATHERED = 10
"""Frames that the client library sends in one message while nobody speaks."""
_ASK_S = 2.0
"""After so long a listening session that asks ends its turn, each at another time: how late the answer comes tells how
far behind the chain is.
"""

Turn = Callable[[], Awaitable[float]]
"""Says one turn; returns the seconds from the end of the user's turn to the first audio."""


@contextlib.asynccontextmanager
async def bare_session(channel: grpc.aio.Channel) -> AsyncIterator[Turn]:
    """A client of the bare chain."""
    call: Any = channel.stream_stream(CONVERSE)()

    async def turn() -> float:
        begun = time.monotonic()
        await call.write(b"go")
        while len(await call.read()) < 100:
            continue
        return time.monotonic() - begun

    try:
        yield turn
    finally:
        call.cancel()


@contextlib.asynccontextmanager
async def parley_session(channel: grpc.aio.Channel) -> AsyncIterator[Turn]:
    """A client of Parley that ends its turns itself."""
    async with _opened(channel, create_response=True) as call:
        yield lambda: _turn(call, _AUDIO)


@contextlib.asynccontextmanager
async def spoken_session(channel: grpc.aio.Channel) -> AsyncIterator[Turn]:
    """A client of Parley whose voice the server detects, like that of `realtime_session`."""
    async with _opened(channel, create_response=True, manual=False, rate_hz=_REALTIME_RATE_HZ) as call:
        yield lambda: _turn(call, _TONE, heard="input_audio_buffer_speech_started")


@contextlib.asynccontextmanager
async def realtime_session(address: str) -> AsyncIterator[Turn]:
    """A client of the Realtime bridge; its events are written ahead and not parsed, so that it costs little."""
    append = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(_TONE).decode()})
    async with connect(f"ws://{address}/v1/realtime", max_queue=None, compression=None) as socket:

        async def until(kind: str) -> None:
            while f'"type":"{kind}"' not in (text := str(await socket.recv())):
                if '"type":"error"' in text:
                    raise RuntimeError(f"the session failed: {text}")

        async def turn() -> float:
            await socket.send(append)
            await until("input_audio_buffer.speech_started")
            begun = time.monotonic()
            await socket.send('{"type": "input_audio_buffer.commit"}')
            await until("response.output_audio.delta")
            spent = time.monotonic() - begun
            await until("response.done")
            return spent

        await until("session.created")
        yield turn


async def speak_turns(sessions: list[Turn], turns: int) -> dict[str, object]:
    """Every session says one turn, all at the same moment, `turns` times."""
    spent: list[float] = []
    for _ in range(turns):
        spent += await asyncio.gather(*(turn() for turn in sessions))
    return {"spent_s": spent}


async def speak_on(sessions: list[Turn], turns: int) -> dict[str, object]:
    """Every session says `turns` turns, one after another."""

    async def one(turn: Turn) -> list[float]:
        return [await turn() for _ in range(turns)]

    begun = time.monotonic()
    spent = await asyncio.gather(*(one(turn) for turn in sessions))
    return {"spent_s": [span for spans in spent for span in spans], "took_s": time.monotonic() - begun}


class Listener(NamedTuple):
    """A stream of audio, `frame` every `frame_s` seconds; what asks for an answer at once, and the event that is it."""

    call: Any
    frame: bytes
    question: bytes
    answer: str = ""
    frame_s: float = _FRAME_S


@contextlib.asynccontextmanager
async def bare_listener(channel: grpc.aio.Channel, frames: int = 1) -> AsyncIterator[Listener]:
    """A stream of audio to the bare chain, so many frames a message."""
    call: Any = channel.stream_stream(LISTEN)()
    try:
        yield Listener(call, _FRAME * frames, QUESTION, frame_s=frames * _FRAME_S)
    finally:
        call.cancel()


@contextlib.asynccontextmanager
async def parley_listener(channel: grpc.aio.Channel, frames: int = 1) -> AsyncIterator[Listener]:
    """A session of Parley that is only listened to, so many frames a message."""
    async with _opened(channel, create_response=False) as call:
        answer = "input_audio_transcription_completed"
        yield Listener(call, _append(_FRAME * frames), _commit(), answer, frames * _FRAME_S)


async def listen(listeners: list[Listener], seconds: float, *, asking: bool = False) -> dict[str, object]:
    """Every session sends its audio at the speed of speech, spread evenly over the time of a message."""
    start = time.monotonic() + 0.1
    answered_s: list[float] = []
    behind_s: list[float] = []

    async def one(number: int, listener: Listener) -> None:
        async def answered(since: float) -> None:
            await (_until(listener.call, listener.answer) if listener.answer else listener.call.read())
            answered_s.append(time.monotonic() - since)

        waiting: asyncio.Task[None] | None = None
        share = number / len(listeners)
        frames, ask_every = round(seconds / listener.frame_s), round(_ASK_S / listener.frame_s)
        async with asyncio.TaskGroup() as group:
            for index in range(frames):
                due = start + (share + index) * listener.frame_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                behind_s.append(time.monotonic() - due)
                await listener.call.write(listener.frame)
                if asking and (index + number) % ask_every == 0 and (waiting is None or waiting.done()):
                    await listener.call.write(listener.question)
                    waiting = group.create_task(answered(time.monotonic()))

    async with asyncio.TaskGroup() as group:
        for number, listener in enumerate(listeners):
            group.create_task(one(number, listener))
    return {"answered_s": answered_s, "client_behind_s": max(behind_s), "took_s": time.monotonic() - start}


@contextlib.asynccontextmanager
async def _opened(
    channel: grpc.aio.Channel, *, create_response: bool, manual: bool = True, rate_hz: int = 16_000
) -> AsyncIterator[Any]:
    """A session; what it writes is serialized already, so that the client costs little."""
    mode = pb.TurnDetection.MODE_MANUAL if manual else pb.TurnDetection.MODE_SERVER_VAD
    detection = pb.TurnDetection(mode=mode, create_response=create_response)
    speech = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=rate_hz)
    config = pb.SessionConfig(turn_detection=detection, input_audio_format=speech)
    call: Any = channel.stream_stream(_CONVERSE, response_deserializer=pb.ConverseResponse.FromString)()
    try:
        await call.write(pb.ConverseRequest(session_update=pb.SessionUpdate(session=config)).SerializeToString())
        await _until(call, "session_created")
        yield call
    finally:
        call.cancel()


async def _turn(call: Any, audio: bytes, heard: str = "") -> float:
    """One turn, timed from the commit: the fake recogniser answers it at once, so that its two hops count as overhead
    too. `heard` is the event that is waited for before it.
    """
    await call.write(_append(audio))
    if heard:
        await _until(call, heard)
    begun = time.monotonic()
    await call.write(_commit())
    await _until(call, "response_output_audio_delta")
    spent = time.monotonic() - begun
    await _until(call, "response_done")
    return spent


def _append(audio: bytes) -> bytes:
    return pb.ConverseRequest(input_audio_buffer_append=pb.InputAudioBufferAppend(audio=audio)).SerializeToString()


def _commit() -> bytes:
    return pb.ConverseRequest(input_audio_buffer_commit=pb.InputAudioBufferCommit()).SerializeToString()


async def _until(call: Any, kind: str) -> None:
    while (event := await call.read()).WhichOneof("event") != kind:
        if event.WhichOneof("event") == "error":
            raise RuntimeError(f"the session failed: {event.error.message}")


_LISTEN = {"go": listen, "ask": functools.partial(listen, asking=True)}
_KINDS: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("turns", "bare"): (bare_session, {"go": speak_turns}),
    ("turns", "parley"): (parley_session, {"go": speak_turns}),
    ("loop", "parley"): (parley_session, {"go": speak_on}),
    ("turns", "spoken"): (spoken_session, {"go": speak_turns}),
    ("turns", "realtime"): (realtime_session, {"go": speak_turns}),
    ("listen", "bare"): (bare_listener, _LISTEN),
    ("listen", "bare gathered"): (functools.partial(bare_listener, frames=_GATHERED), _LISTEN),
    ("listen", "parley"): (parley_listener, _LISTEN),
    ("listen", "parley gathered"): (functools.partial(parley_listener, frames=_GATHERED), _LISTEN),
}
"""How a session is opened, and what is done on all of them at each word of the standard input."""


async def main(what: str, chain: str, address: str, sessions: str, count: str) -> None:
    """Open the sessions, and measure whenever a line comes."""
    session, runs = _KINDS[what, chain]
    async with grpc.aio.insecure_channel(address) as channel, contextlib.AsyncExitStack() as stack:
        server = address if chain == "realtime" else channel
        opened = [await stack.enter_async_context(session(server)) for _ in range(int(sessions))]
        print("ready", flush=True)
        while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
            cpu_s = time.process_time()
            result = await runs[word](opened, int(count))
            print(json.dumps({**result, "client_cpu_s": time.process_time() - cpu_s}), flush=True)


if __name__ == "__main__":
    event_loop.run(main(*sys.argv[1:]))
