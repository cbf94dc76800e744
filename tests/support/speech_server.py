"""A real HTTP server of `/v1/audio/speech` and `/v1/audio/voices`, with the embedded voice behind it."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services.common.audio import Resampler, encode
from services.common.audio_format import AudioFormat, Encoding
from services.common.settings import load
from services.tts.domain import Segment
from services.tts.engines.hibari import HibariEngine
from services.tts.settings import TtsSettings
from tests.support.route_server import route_server

RATE_HZ = 16_000
"""Not the voice's own: nobody may assume it."""
_UNKNOWN_LENGTH = 0xFFFFFFFF


@dataclass
class SpeechServer:
    """Where it listens, and what it saw."""

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    """Their far ends: a connection that is used again counts once."""
    broken_off: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client leaves in mid-speech."""


def wav_header(audio_format: AudioFormat, length: int = _UNKNOWN_LENGTH) -> bytes:
    """Of 16-bit samples; of unknown length where none is given."""
    rate_hz, channels, frame = audio_format.sample_rate_hz, audio_format.channels, audio_format.frame_bytes
    fmt = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * frame, frame, 8 * frame // channels)
    head = b"RIFF" + struct.pack("<I", _UNKNOWN_LENGTH) + b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt
    return head + b"data" + struct.pack("<I", length)


@contextlib.asynccontextmanager
async def speech_server() -> AsyncIterator[SpeechServer]:
    """The server on a free loopback port, in this event loop."""
    engine = HibariEngine(load(TtsSettings, "parley-tts", []))
    await engine.load()
    state = SpeechServer()
    native = AudioFormat(Encoding.PCM_S16LE, RATE_HZ)

    async def spoken(asked: dict[str, Any]) -> AsyncIterator[bytes]:
        if asked["response_format"] == "wav":
            yield wav_header(native)
        resampler = Resampler(engine.voices[0].native_format.sample_rate_hz, RATE_HZ)
        try:
            async with contextlib.aclosing(engine.synthesize(Segment(asked["input"], engine.voices[0]))) as blocks:
                async for samples in blocks:
                    yield encode(resampler.feed(samples), native)
            yield encode(resampler.feed(np.zeros(0, np.float32), last=True), native)
        except (asyncio.CancelledError, GeneratorExit):
            state.broken_off.set()
            raise

    async def speech(request: Request) -> Response:
        asked = await request.json()
        state.requests.append(asked)
        if request.client:
            state.connections.add((request.client.host, request.client.port))
        if asked["voice"] not in {voice.name for voice in engine.voices}:
            return JSONResponse({"error": {"message": "there is no such voice"}}, status_code=400)
        kind = "audio/wav" if asked["response_format"] == "wav" else f"audio/pcm;rate={RATE_HZ}"
        return StreamingResponse(spoken(asked), media_type=kind)

    async def voices(_: Request) -> Response:
        return JSONResponse({"voices": [{"id": voice.name} for voice in engine.voices]})

    routes = [Route("/v1/audio/speech", speech, methods=["POST"]), Route("/v1/audio/voices", voices)]
    try:
        async with route_server(routes, keep_alive_s=600) as address:
            state.base_url = f"{address}/v1"
            yield state
    finally:
        await engine.aclose()
