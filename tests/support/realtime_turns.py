"""A conversation by OpenAI's own Python client, as its users write it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import openai

FRAME_S, RATE_HZ = 0.02, 24_000
FRAME_BYTES = round(FRAME_S * RATE_HZ) * 2


@dataclass
class Turns:
    """What three turns were: spoken, spoken over the answer, written."""

    said: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    """The `response` of each `response.done`."""
    audio: bytes = b""


async def three_turns(
    client: openai.AsyncOpenAI, first: bytes, second: bytes, *, speed: float = 1.0, cancel: bool = False
) -> Turns:
    """Say the first recording, the second one over the answer to it, and write the third.

    Args:
        client: with a base URL at a Parley server.
        first: PCM16, 24 kHz.
        second: likewise.
        speed: of speech, 1 being a person's.
        cancel: the second answer as soon as it is heard.
    """
    turns = Turns()
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "instructions": "You are a storyteller."})
        speech = asyncio.Queue[bytes]()
        microphone = asyncio.create_task(_speak(connection, speech, speed))
        speech.put_nowait(first)
        try:
            async for event in _events(connection):
                if event.type == "response.output_audio.delta":
                    if not turns.audio:
                        speech.put_nowait(second)
                    elif cancel and len(turns.answers) == 1:
                        await connection.response.cancel(response_id=event.response_id)
                        cancel = False
                    turns.audio += base64.b64decode(event.delta)
                elif event.type == "conversation.item.input_audio_transcription.completed":
                    turns.said.append(event.transcript)
                elif event.type == "response.done":
                    turns.answers.append(event.response)
                    if len(turns.answers) == 2:
                        await connection.conversation.item.create(item=_written("And then?"))
                        await connection.response.create(response={"output_modalities": ["text"]})
                    elif len(turns.answers) == 3:
                        return turns
        finally:
            microphone.cancel()
            await asyncio.gather(microphone, return_exceptions=True)
    raise AssertionError("the connection ended too early")


async def _events(connection: Any) -> AsyncIterator[Any]:
    async for event in connection:
        if event.type == "error":
            raise AssertionError(event.error.message)
        yield event


async def _speak(connection: Any, speech: "asyncio.Queue[bytes]", speed: float) -> None:
    """A microphone that is always on."""
    pending = bytearray()
    while True:
        while not speech.empty():
            pending += speech.get_nowait()
        frame = bytes(pending[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
        del pending[:FRAME_BYTES]
        await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())
        await asyncio.sleep(FRAME_S / speed)


def _written(text: str) -> Any:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
