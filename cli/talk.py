"""`parley talk`: a recording, or the microphone, through the whole chain, and the answer back."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from parley.agent.v1 import agent_service_pb2 as pb
from parley_client import Session, SessionError, connect, events
from rich.console import Console

from cli.audio_files import SpeechFile, check_writable, write_wav
from cli.connection import open_channel
from cli.dialogue import Dialogue
from cli.errors import CliError
from cli.pacing import FRAME_S, paced
from cli.render import wrote
from cli.rpc import explain_session
from cli.talk_view import TalkView
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import audio_format, audio_format_message

MIN_SILENCE_S = 2.0
"""Silence sent after a recording before nothing more is expected of it: longer than an endpointer hesitates."""
PATIENCE_S = 30.0
"""Without any event for so long, the server is taken to be stuck."""
RECONNECT_S = 30.0
"""A live conversation outlives its orchestrator for so long; a recording would have a gap."""
MICROPHONE_FORMAT = AudioFormat(Encoding.PCM_S16LE, 16_000)


@dataclass(frozen=True)
class TalkOptions:
    """What the user asked for; empty text means the server's default."""

    target: str
    voice: str = ""
    language: str = ""
    instructions: str = ""
    conversation_id: str = ""

    def session(self, input_format: AudioFormat) -> pb.SessionConfig:
        """What to open the session with; what is empty is left to the server."""
        config = pb.SessionConfig(
            input_audio_format=audio_format_message(input_format), conversation_id=self.conversation_id
        )
        if self.voice:
            config.voice = self.voice
        if self.language:
            config.language_code = self.language
        if self.instructions:
            config.instructions = self.instructions
        return config


class View(Protocol):
    """Whoever shows the conversation while it happens."""

    def note(self, text: str) -> None:
        """Something to know about what happens."""

    def show(self, event: events.Event, dialogue: Dialogue) -> None:
        """Called after the dialogue has taken the event in."""


@dataclass
class Talk:
    """What came of a conversation."""

    output_format: AudioFormat
    conversation_id: str
    dialogue: Dialogue = field(default_factory=Dialogue)
    audio: bytearray = field(default_factory=bytearray)
    _answer: tuple[str, int] = ("", 0)
    """The response that spoke last, and where its speech begins in `audio`."""

    def add_audio(self, event: events.AudioDelta) -> None:
        """Take in more speech; what comes again after a false interruption is kept once."""
        if event.response_id != self._answer[0]:
            self._answer = (event.response_id, len(self.audio))
        if event.offset_s is not None:
            frames = round(event.offset_s * self.output_format.sample_rate_hz)
            del self.audio[self._answer[1] + frames * self.output_format.frame_bytes :]
        self.audio += event.data


async def run_file(path: Path, output: Path | None, options: TalkOptions, *, as_json: bool, console: Console) -> None:
    """`parley talk FILE`: print what is said, and write the answer.

    Raises:
        CliError: for anything that keeps the recording from being answered.
    """
    if output is not None:
        check_writable(output)
    with SpeechFile(path) as source, TalkView(console, quiet=as_json) as view:
        talk = await talk_file(source, options, view)
    if not talk.dialogue.turns:
        raise CliError(f"no speech was heard in {path}")
    if output is not None:
        if not talk.audio:
            raise CliError("the answer has no speech; nothing was written")
        write_wav(output, bytes(talk.audio), talk.output_format)
    if as_json:
        turns = [turn.as_dict() for turn in talk.dialogue.turns]
        console.out(json.dumps({"conversation_id": talk.conversation_id, "turns": turns}), highlight=False)
    elif output is not None:
        seconds = len(talk.audio) / talk.output_format.bytes_per_second
        console.print(wrote(output, seconds), soft_wrap=True)


async def talk_file(source: SpeechFile, options: TalkOptions, view: View) -> Talk:
    """Send a recording at the speed of speech, then silence, until everything in it is answered.

    Raises:
        CliError: where the session or a turn fails, or the server falls silent.
    """
    async with open_session(options, source.format, reconnect_s=0) as session:
        talk = Talk(audio_format(session.output_format, "session.output_audio_format"), session.conversation_id)
        view.note(f"Sending {source.path.name} at the speed of speech, {source.duration_s:.1f} s …")
        begun = time.monotonic()
        sending = asyncio.create_task(_send_file(session, source, talk.dialogue, begun))
        try:
            async with asyncio.timeout(source.duration_s + PATIENCE_S) as deadline:
                async for event in session.events():
                    now = time.monotonic()
                    # Silence in the recording is no silence of the server.
                    patience_s = max(0.0, begun + source.duration_s - now) + PATIENCE_S
                    deadline.reschedule(asyncio.get_running_loop().time() + patience_s)
                    if isinstance(event, events.TurnFailed):
                        raise CliError(event.message)
                    talk.dialogue.feed(event, now - begun)
                    view.show(event, talk.dialogue)
                    if isinstance(event, events.AudioDelta):
                        talk.add_audio(event)
        except TimeoutError:
            raise CliError(f"the orchestrator at {options.target} has been silent for {PATIENCE_S:.0f} s") from None
        finally:
            sending.cancel()
            failures = await asyncio.gather(sending, return_exceptions=True)
    for failure in failures:
        if isinstance(failure, Exception):
            raise failure
    if any(turn.outcome is events.Outcome.FAILED for turn in talk.dialogue.turns):
        raise CliError("the answer failed; the orchestrator's log says why")
    if talk.dialogue.waiting:
        raise CliError("the orchestrator ended the session before the answer")
    return talk


@contextlib.asynccontextmanager
async def open_session(
    options: TalkOptions, input_format: AudioFormat, *, reconnect_s: float
) -> AsyncIterator[Session]:
    """An open session.

    Raises:
        CliError: where it fails.
    """
    try:
        async with (
            open_channel(options.target) as channel,
            connect(options.target, options.session(input_format), reconnect_s=reconnect_s, channel=channel) as session,
        ):
            yield session
    except SessionError as error:
        raise explain_session(error, options.target) from None


async def _send_file(session: Session, source: SpeechFile, dialogue: Dialogue, begun: float) -> None:
    """The recording, then silence while something is to come; ends the session, also where the file is damaged."""
    silence = itertools.repeat(source.silence(FRAME_S))
    try:
        async for frame in paced(source.frames(FRAME_S), begun):
            if not await session.send_audio(frame):
                return
        ended = time.monotonic()
        frames_sent = round((ended - begun) / FRAME_S)
        async for frame in paced(silence, begun + frames_sent * FRAME_S):
            if not await session.send_audio(frame):
                return
            if time.monotonic() - ended >= MIN_SILENCE_S and not dialogue.waiting:
                return
    finally:
        await session.end()


async def run_microphone(options: TalkOptions, *, console: Console) -> None:
    """`parley talk --mic`: talk until Ctrl-C.

    Raises:
        CliError: where there is no sound card, or the session fails.
    """
    from cli.microphone import Microphone, Speaker, require_sound_card  # a library that the other commands do without

    require_sound_card()
    async with (
        contextlib.AsyncExitStack() as stack,
        open_session(options, MICROPHONE_FORMAT, reconnect_s=RECONNECT_S) as session,
    ):
        output_format = audio_format(session.output_format, "session.output_audio_format")
        stack.enter_context(Speaker(output_format, session.play()))
        microphone = stack.enter_context(Microphone(MICROPHONE_FORMAT, FRAME_S))
        view = stack.enter_context(TalkView(console))
        view.note("Talk now; Ctrl-C ends.")
        dialogue, begun = Dialogue(), time.monotonic()
        sending = asyncio.create_task(_send_microphone(session, microphone.frames()))
        try:
            async for event in session.events():
                dialogue.feed(event, time.monotonic() - begun)
                view.show(event, dialogue)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _send_microphone(session: Session, frames: AsyncIterator[bytes]) -> None:
    async for frame in frames:
        if not await session.send_audio(frame):
            return
