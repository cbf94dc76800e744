"""A client of the Realtime bridge, checked against OpenAI's own types."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import openai
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError
from websockets.asyncio.client import ClientConnection, connect

from services.common.audio import encode
from services.common.audio_format import AudioFormat, Encoding
from tests.support.servers import RunningServer

_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
VOICE = encode(np.tile(np.repeat(np.array([0.5, -0.5], np.float32), 24), 500), AudioFormat(Encoding.PCM_S16LE, 24_000))
"""A second of what the fake recogniser takes for speech."""
OPEN = ("conversation.created",)


def realtime_port(orchestrator: RunningServer) -> int:
    """Where a server that was started with `--realtime_port=0` listens."""
    return next(int(str(entry["realtime_port"])) for entry in orchestrator.logs if "realtime_port" in entry)


def sdk(orchestrator: RunningServer) -> openai.AsyncOpenAI:
    """OpenAI's own client, pointed at the bridge."""
    return openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{realtime_port(orchestrator)}/v1")


def check_event(event: dict[str, Any]) -> None:
    """Hold an event against OpenAI's own types; those of Parley's extension are only named so."""
    if str(event["type"]).startswith("parley."):
        return
    try:
        _EVENT.validate_python(event, strict=True)
    except ValidationError as error:
        raise AssertionError(f"no event of the protocol: {event}") from error


class Realtime:
    """An open socket; `events` holds all that came, in order, each of them checked."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def append(self, audio: bytes = bytes(4800)) -> None:
        """Send audio; by default a tenth of a second of silence, 24 kHz."""
        await self.send("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    async def write_text(self, text: str) -> None:
        """Add a user message and ask for a response."""
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self.send("response.create")

    async def until(self, *kinds: str) -> dict[str, Any]:
        """Read on to the next event of one of the kinds."""
        while True:
            event = json.loads(await self.socket.recv())
            check_event(event)
            self.events.append(event)
            if event["type"] in kinds:
                return dict(event)
            if event["type"] == "error" and "error" not in kinds:
                raise AssertionError(f"{event['error']} came before {kinds}")

    def kinds(self) -> list[str]:
        """The kinds of all events so far."""
        return [event["type"] for event in self.events]

    def audio(self) -> bytes:
        """All audio so far."""
        deltas = (event["delta"] for event in self.events if event["type"] == "response.output_audio.delta")
        return b"".join(map(base64.b64decode, deltas))


@contextlib.asynccontextmanager
async def realtime(
    orchestrator: RunningServer, query: str = "", *, until: Sequence[str] = OPEN, **options: Any
) -> AsyncIterator[Realtime]:
    """A session on the bridge, once it is open."""
    url = f"ws://127.0.0.1:{realtime_port(orchestrator)}/v1/realtime{query}"
    async with connect(url, max_queue=None, **options) as socket:
        client = Realtime(socket)
        await client.until(*until)
        yield client
