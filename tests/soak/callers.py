"""Callers of a soak: who they are, what they do, and what they saw."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import numpy as np
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2
from parley_client import Session, SessionError, Tool, connect
from parley_client.events import (
    AudioDelta,
    Event,
    FinalTranscript,
    Reconnected,
    ResponseEnded,
    ResponseStarted,
    TurnFailed,
)

from services.common.audio import Samples
from services.common.g711 import encode_mulaw
from tests.soak.reconcile import Response, Seen

DEADLINE_S = 45.0
"""A turn that nothing came of by then hangs: longer than any deadline in the services, and than a reconnection."""
RECONNECT_S = 30.0
FRAME_S = 0.02
_SAID_S = 0.4
_KINDS = ("text", "text", "live", "live", "barge-in", "tools", "leaves")
_SPOKEN = ("en", "en-GB", "")
"""What the fake recogniser knows."""
_WRITTEN = ("en", "de", "hi", "ja", "")
_RATES_HZ = (8_000, 16_000, 48_000)


class Left(Exception):
    """The caller hangs up in the middle of something."""


class Caller:
    """One caller, of one session after another, until told to stop."""

    def __init__(self, number: int, seed: int, targets: tuple[str, ...], keep: Callable[[Seen], None]) -> None:
        self._rng = random.Random(f"{seed} {number}")
        self._targets, self._keep = targets, keep
        self._name = f"caller {number}"
        self._said = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Sessions, to the end of the one in which `stop` is set."""
        while not stop.is_set():
            kind = self._rng.choice(_KINDS)
            try:
                await self._session(kind)
            except SessionError:  # refused, or not reachable: seen and counted
                await asyncio.sleep(self._rng.uniform(0.5, 1.5))

    async def _session(self, kind: str) -> None:
        rng = self._rng
        rate_hz, mulaw = rng.choice(_RATES_HZ), rng.random() < 0.3
        encoding = audio_pb2.AUDIO_ENCODING_MULAW if mulaw else audio_pb2.AUDIO_ENCODING_PCM_S16LE
        audio = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hertz=8_000 if mulaw else rate_hz)
        language = rng.choice(_SPOKEN if kind in ("live", "barge-in") else _WRITTEN)
        config = pb.SessionConfig(input_audio_format=audio, output_audio_format=audio, language_code=language)
        tools = [Tool("look_up", "Looks something up.", _look_up)] if kind == "tools" else []
        target = rng.choice(self._targets)
        with contextlib.suppress(Left):
            async with connect(target, config, tools=tools, reconnect_s=RECONNECT_S) as session:
                seen = Seen(session.conversation_id)
                self._keep(seen)
                conversation = Conversation(session, seen, audio)
                async with conversation.listening():
                    for _ in range(rng.randint(1, 5)):
                        self._said += 1
                        await self._turn(kind, conversation, f"This is turn {self._said} of {self._name}.")
                        if conversation.over:
                            break

    async def _turn(self, kind: str, conversation: "Conversation", text: str) -> None:
        if kind == "live":
            await conversation.speak(f"{text} spoken")
        elif kind == "barge-in":
            await conversation.speak(f"{text} interrupted", interrupt_after_s=self._rng.uniform(0.1, 1.0))
        elif kind == "leaves":
            await conversation.write(text, leave_after_s=self._rng.uniform(0.0, 1.0))
        else:
            await conversation.write(text)


class Conversation:
    """An open session; remembers what its caller saw."""

    def __init__(self, session: Session, seen: Seen, audio: audio_pb2.AudioFormat) -> None:
        self._session, self._seen = session, seen
        self._loud, self._silent = _frames(audio)
        self._changed = asyncio.Event()
        self._settled = 0
        self._heard = False
        self.over = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Read what happens while the block lasts; what was being answered at its end is lost."""
        reading = asyncio.create_task(self._read())
        try:
            yield
            await self._session.end()
            if not (await asyncio.wait({reading}, timeout=DEADLINE_S))[0]:
                self._seen.hung.append("the end of the session")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._seen.lose()

    async def write(self, text: str, leave_after_s: float | None = None) -> None:
        """Write, and wait for the end of the answer; or leave without a word."""
        before = self._settled
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._session.write(text)
                if leave_after_s is not None:
                    await asyncio.sleep(leave_after_s)
                    raise Left
                await self._until(lambda: self._settled > before and self._idle)
        except TimeoutError:
            self._seen.hung.append(text)

    async def speak(self, name: str, interrupt_after_s: float | None = None) -> None:
        """Say something, and wait for the end of the answer; or speak into it, and wait for the end of the next."""
        before, self._heard = self._settled, False
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._say()
                if interrupt_after_s is not None:
                    await self._listen_until(lambda: self._heard or self._settled > before)
                    for _ in range(round(interrupt_after_s / FRAME_S)):
                        await self._send(self._silent)
                    await self._say()
                await self._listen_until(lambda: self._settled > before and self._idle)
        except TimeoutError:
            self._seen.hung.append(name)

    @property
    def _idle(self) -> bool:
        return all(response.outcome is not None or response.cut for response in self._seen.responses.values())

    async def _say(self) -> None:
        for _ in range(round(_SAID_S / FRAME_S)):
            await self._send(self._loud)

    async def _listen_until(self, done: Callable[[], bool]) -> None:
        while not done() and not self.over:
            await self._send(self._silent)

    async def _send(self, frame: bytes) -> None:
        await self._session.send_audio(frame)
        await asyncio.sleep(FRAME_S)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done() and not self.over:
            self._changed.clear()
            await self._changed.wait()

    async def _read(self) -> None:
        try:
            async for event in self._session.events():
                self._take(event)
                self._changed.set()
        except SessionError as error:
            self._seen.errors[error.reason or error.code.name] += 1
        finally:
            self._seen.lose()
            self.over = True
            self._changed.set()

    def _take(self, event: Event) -> None:
        responses = self._seen.responses
        match event:
            case ResponseStarted(response_id, item_id):
                responses[response_id] = Response(item_id)
            case AudioDelta():
                self._heard = True
            case ResponseEnded(response_id, outcome, spoken):
                responses[response_id].outcome, responses[response_id].spoken = outcome, spoken
                self._settled += 1
            case TurnFailed(message, reason):
                self._seen.errors[f"{reason}: {message}"] += 1
                self._settled += 1
            case FinalTranscript(_, ""):
                self._settled += 1  # nothing was said, as far as the server heard: there will be no answer
            case Reconnected():
                self._seen.errors["reconnected"] += 1
                self._seen.lose()
                self._settled += 1
            case _:
                pass


async def _look_up() -> str:
    return "It is there."


def _frames(audio: audio_pb2.AudioFormat) -> tuple[bytes, bytes]:
    """20 ms of a tone that the fake recogniser takes for a voice, and 20 ms of silence."""
    count = round(audio.sample_rate_hertz * FRAME_S)
    tone = (0.5 * np.sin(2 * np.pi * 500 / audio.sample_rate_hertz * np.arange(count))).astype(np.float32)
    loud, silent = (_encoded(samples, audio.encoding) for samples in (tone, np.zeros(count, np.float32)))
    return loud, silent


def _encoded(samples: Samples, encoding: int) -> bytes:
    if encoding == audio_pb2.AUDIO_ENCODING_MULAW:
        return encode_mulaw(samples)
    return (samples * 32767).astype("<i2").tobytes()
