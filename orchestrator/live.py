"""One live session: joins the state machine of `session.py` to the services and the client."""

import asyncio
import logging
import time
from dataclasses import replace

from parley.common.v1 import chat_pb2

from orchestrator.audio_clock import AudioClock
from orchestrator.domain import (
    Failure,
    SessionConfig,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptEvent,
)
from orchestrator.outbox import Outbox
from orchestrator.session import Command, Session, StartResponse
from orchestrator.stages import Stages
from orchestrator.stages.language_model import Prompt
from orchestrator.stages.speech_to_text import Listening
from orchestrator.turn import Heard, Turn
from services.common.errors import InvalidArgumentError, ParleyError

log = logging.getLogger(__name__)

RELISTEN_WAIT_S = 1.0
"""After recognition failed, audio is dropped for so long before it is tried again."""


class LiveSession:
    """A conversation with one client. The methods named like client events may raise ParleyError; the session lives on.

    Events for the client go to `outbox`, in order.
    """

    def __init__(self, stages: Stages, session_id: str, config: SessionConfig, response_timeout_s: float) -> None:
        self.outbox = Outbox()
        self.conversation_id = ""
        self.session_id = session_id
        self._stages = stages
        self._config = config
        self._response_timeout_s = response_timeout_s
        self._state = Session(f"{session_id}_response")
        self._listening: Listening | None = None
        self._listener: asyncio.Task[None] | None = None
        self._listen_serial = 0
        self._deaf_until = 0.0
        self._deafness: ParleyError | None = None
        self._clock = AudioClock()
        self._heard_s = 0.0
        self._heard = Heard(time.monotonic())
        self._turn: Turn | None = None
        self._turns: set[asyncio.Task[None]] = set()
        self._items: set[asyncio.Task[None]] = set()
        self._item_order = asyncio.Lock()
        self._apply_config()

    async def open(self, conversation_id: str) -> None:
        """Begin: with a conversation that exists, or with a new one where the id is empty.

        Raises:
            ParleyError: for a name that is not known, or a service that is down.
        """
        await self._stages.check_names(self._config)
        if conversation_id:
            await self._stages.llm.check_conversation(conversation_id)
        self.conversation_id = conversation_id or await self._stages.llm.create_conversation()
        self.outbox.put(SessionCreated(self.session_id, self.conversation_id, self._config))

    async def update(self, config: SessionConfig) -> None:
        """Use another configuration from now on; a response that runs keeps its own."""
        await self._stages.check_names(config)
        before, self._config = self._listening_config(), config
        if self._listening_config() != before:
            self._stop_listening()
        self._apply_config()
        self.outbox.put(SessionUpdated(config))

    @property
    def config(self) -> SessionConfig:
        """The configuration in force."""
        return self._config

    async def append_audio(self, audio: bytes) -> None:
        """Listen to this, in the session's input format."""
        if not audio:
            return
        now = time.monotonic()
        listening = self._listen(now)
        if listening is None:
            return
        self._clock.arrived(len(audio) / self._config.input_format.bytes_per_second, now)
        await listening.send_audio(audio)

    async def commit_audio(self) -> None:
        """The user's turn ends here.

        Raises:
            ParleyError: where recognition failed a moment ago, so that there is nothing to end.
        """
        listening = self._listen(time.monotonic())
        if listening is not None:
            await listening.end_utterance()
        elif self._deafness is not None:
            raise self._deafness

    def clear_audio(self) -> None:
        """Forget what was said since the last turn."""
        self._stop_listening()

    def create_item(self, message: chat_pb2.Message, client_event_id: str) -> None:
        """Add a message to the history, in the order of these calls and before the next response."""
        self._items.add(task := asyncio.create_task(self._append_item(message, client_event_id)))
        task.add_done_callback(self._items.discard)

    def truncate(self, item_id: str, played_s: float) -> None:
        """The client played only so much of an item's audio.

        Raises:
            InvalidArgumentError: where that item is not being spoken.
        """
        if self._turn is None or self._turn.item_id != item_id:
            raise InvalidArgumentError("this item is not being spoken", field="conversation_item_truncate.item_id")
        self._turn.truncate(played_s)

    def create_response(self) -> None:
        """Answer what the conversation holds."""
        self._heard = Heard(time.monotonic())
        self._execute(self._state.response_requested())

    def cancel_response(self, response_id: str) -> None:
        """Stop the response with this id, or the current one."""
        self._execute(self._state.cancel_requested(response_id))

    async def finish(self) -> None:
        """The client sends nothing more: answer what is still to be answered, then close the outbox."""
        if self._listening is not None and self._listener is not None:
            await self._listening.finish()
            await self._listener
        while self._turns or self._items:
            await asyncio.wait(self._turns | self._items)
        self.outbox.close()

    async def aclose(self) -> None:
        """Stop everything, settle the history, and wait for the end of it."""
        self._state.create_response = False
        self._stop_listening()
        self._execute(self._state.abandon())
        while owned := self._turns | self._items:
            await asyncio.wait(owned)
        if self._listener is not None:
            await asyncio.gather(self._listener, return_exceptions=True)

    # Listening

    def _listen(self, now: float) -> Listening | None:
        if self._listening is None and now >= self._deaf_until:
            self._listen_serial += 1
            self._heard_s += self._clock.total_s
            self._clock = AudioClock()
            self._listening = self._stages.stt.listen(self._config)
            self._listener = asyncio.create_task(self._follow(self._listening, self._listen_serial))
        return self._listening

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _listening_config(self) -> tuple[object, ...]:
        config = self._config
        return config.input_format, config.stt_model, config.language_code, config.turn_detection

    async def _follow(self, listening: Listening, serial: int) -> None:
        try:
            async for event in listening.events():
                if listening is not self._listening:
                    return
                self._on_heard(replace(event, item_id=f"{self.session_id}_input_{serial}_{event.item_id}"))
        except ParleyError as error:
            if listening is self._listening:
                self._deafness, self._deaf_until = error, time.monotonic() + RELISTEN_WAIT_S
                self.outbox.put(Failure(error))
        finally:
            if listening is self._listening:
                self._listening = None

    def _on_heard(self, event: TranscriptEvent) -> None:
        now = time.monotonic()
        if isinstance(event, SpeechStarted):
            self.outbox.put(replace(event, start_s=event.start_s + self._heard_s))
            self._execute(self._state.speech_started())
            return
        if isinstance(event, SpeechStopped):
            ended_at = self._clock.when(event.end_s, now)
            self._heard = Heard(ended_at, endpointing=now - ended_at)
            self.outbox.put(replace(event, end_s=event.end_s + self._heard_s))
            return
        self.outbox.put(event)
        if isinstance(event, TranscriptCompleted):
            self._heard = replace(self._heard, final_transcript=now - self._heard.ended_at)
            try:
                self._execute(self._state.transcript_completed(event.text, event.language_code))
            except ParleyError as error:
                self.outbox.put(Failure(error))

    # Responding

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, StartResponse):
                self._turn = self._make_turn(command)
                self._turns.add(task := asyncio.create_task(self._respond(self._turn)))
                task.add_done_callback(self._turns.discard)
            elif self._turn is not None and self._turn.response_id == command.response_id:
                self._turn.cancel()

    def _make_turn(self, command: StartResponse) -> Turn:
        messages = () if command.input.text is None else (user_message(command.input.text),)
        return Turn(
            self._stages,
            self._config,
            self.outbox,
            command.response_id,
            Prompt(messages, self.conversation_id, command.input.language_code),
            self._heard,
            timeout_s=self._response_timeout_s,
            on_audio=lambda: self._state.audio_started(command.response_id),
        )

    async def _respond(self, turn: Turn) -> None:
        async with self._item_order:
            pass  # items that the client created before are in the history now
        await turn.run()
        self._turn = None
        self._execute(self._state.response_ended(turn.response_id))

    async def _append_item(self, message: chat_pb2.Message, client_event_id: str) -> None:
        async with self._item_order:
            try:
                await self._stages.llm.append_message(self.conversation_id, message)
            except ParleyError as error:
                self.outbox.put(Failure(error, client_event_id))

    def _apply_config(self) -> None:
        self._state.interrupt_response = self._config.turn_detection.interrupt_response
        self._state.create_response = self._config.turn_detection.create_response


def user_message(text: str) -> chat_pb2.Message:
    """The user's words as a message."""
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])
