"""What Parley itself adds: final transcript to first audio frame, with scripted stages, beside a bare gRPC chain.

All stages are fake and without delay, but for the language model: 50 ms to the first token and 5 ms a token. The floor
is when that model has said its first sentence. Every session is open before the clock starts; then each says one manual
turn, all at once. The bare chain (benchmarks/bare_chain.py) does the same with raw bytes and no product.

    python -m benchmarks.overhead [--sessions 1 16 64] [--turns 20]
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import audio_pb2

from benchmarks.bare_chain import CONVERSE
from benchmarks.report import milliseconds, save, show
from tests.support.servers import ROOT, running

FIRST_TOKEN_MS, TOKEN_MS = 50, 5
ANSWER = "This is a fake answer of ten words for measuring. And here is a second sentence that follows it."
SENTENCE_TOKENS = 10
"""Words up to the first full stop; the fake model's tokens are words."""
FLOOR_S = (FIRST_TOKEN_MS + (SENTENCE_TOKENS - 1) * TOKEN_MS) / 1000
AUDIO = bytes(3200)
"""A tenth of a second in the session's input format."""

Turn = Callable[[], Awaitable[float]]
"""Says one turn; returns the seconds from the end of the user's turn to the first audio."""


@contextlib.asynccontextmanager
async def bare_chain() -> AsyncIterator[str]:
    """The three servers of the bare chain; yields the address of the last."""
    async with contextlib.AsyncExitStack() as stack:
        llm = await stack.enter_async_context(_bare("llm", str(FIRST_TOKEN_MS), str(TOKEN_MS), str(SENTENCE_TOKENS)))
        tts = await stack.enter_async_context(_bare("tts"))
        yield f"127.0.0.1:{await stack.enter_async_context(_bare('chain', llm, tts))}"


@contextlib.asynccontextmanager
async def _bare(*arguments: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bare_chain", *arguments), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def parley() -> AsyncIterator[str]:
    """Parley on its fakes; yields the orchestrator's address."""
    async with contextlib.AsyncExitStack() as stack:
        addresses = {}
        for name, flags in {
            "stt": ("--stt", "fake"),
            "llm": (
                *("--llm_backend", "fake", "--fake_answer", ANSWER),
                *("--fake_first_token_ms", str(FIRST_TOKEN_MS), "--fake_token_ms", str(TOKEN_MS)),
            ),
            "tts": ("--tts", "fake", "--fake_tts_ms_per_character", "2"),
        }.items():
            addresses[name] = (await stack.enter_async_context(running(name, *flags))).address
        targets = (f"--{name}_target={address}" for name, address in addresses.items())
        yield (await stack.enter_async_context(running("orchestrator", *targets))).address


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
    call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
    detection = pb.TurnDetection(mode=pb.TurnDetection.MODE_MANUAL)
    speech = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=16_000)
    config = pb.SessionConfig(turn_detection=detection, input_audio_format=speech)

    async def until(*kinds: str) -> str:
        while (kind := (await call.read()).WhichOneof("event")) not in kinds:
            if kind == "error":
                raise RuntimeError("the turn failed")
        return str(kind)

    async def turn() -> float:
        """From the commit: the fake recogniser answers it at once, so that its two hops count as overhead too."""
        await call.write(pb.ConverseRequest(input_audio_buffer_append=pb.InputAudioBufferAppend(audio=AUDIO)))
        begun = time.monotonic()
        await call.write(pb.ConverseRequest(input_audio_buffer_commit=pb.InputAudioBufferCommit()))
        await until("response_output_audio_delta")
        spent = time.monotonic() - begun
        await until("response_done")
        return spent

    try:
        await call.write(pb.ConverseRequest(session_update=pb.SessionUpdate(session=config)))
        await until("session_created")
        yield turn
    finally:
        call.cancel()


async def measure(chain: Any, session: Any, sessions: int, turns: int) -> list[float]:
    """Seconds of each turn of sessions that speak at the same moment, `turns` times after a warm-up."""
    async with chain() as address, grpc.aio.insecure_channel(address) as channel, contextlib.AsyncExitStack() as stack:
        speakers = [await stack.enter_async_context(session(channel)) for _ in range(sessions)]
        spent: list[float] = []
        for number in range(turns + 1):
            times = await asyncio.gather(*(turn() for turn in speakers))
            spent += times if number else []
        return spent


async def main() -> None:
    """Measure both chains at each number of sessions, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--turns", type=int, default=20)
    args = parser.parse_args()
    rows, result = [], []
    for sessions in args.sessions:
        figures = {}
        for name, chain, session in (("bare", bare_chain, bare_session), ("parley", parley, parley_session)):
            spent = await measure(chain, session, sessions, args.turns)
            figures[name] = milliseconds([seconds - FLOOR_S for seconds in spent])
        ratio = round(figures["parley"]["median"] / figures["bare"]["median"], 2)
        result.append({"sessions": sessions, "added_ms": figures, "ratio": ratio})
        rows.append([sessions, *(figures[n][k] for n in ("bare", "parley") for k in ("median", "p90")), ratio])
    columns = ["sessions at once", "bare median", "bare p90", "Parley median", "Parley p90", "ratio"]
    show(f"Added to the floor of {FLOOR_S * 1000:.0f} ms, in ms", columns, rows)
    save("overhead", {"floor_ms": FLOOR_S * 1000, "turns": args.turns, "figures": result})


if __name__ == "__main__":
    asyncio.run(main())
