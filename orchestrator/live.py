"""One live session: joins the state machine of `session.py` to the services and the client."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from parley.common.v1 import chat_pb2

from orchestrator import clock
from orchestrator.commands import (
    AnswerCalls,
    Command,
    KeepWords,
    Prefill,
    StartResponse,
)
from orchestrator.domain import (
    AudioDelta,
    SessionConfig,
    SessionCreated,
    SessionUpdated,
)
from orchestrator.hearing import Hearing
from orchestrator.items import DELETED, Items
from orchestrator.messages import late_output, no_output, user_message
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.prefilling import Prefilling
from orchestrator.responses import Responses
from orchestrator.session import Session, State
from orchestrator.stages import Stages
from orchestrator.tool_calls import Route
from orchestrator.turn import Heard, Turn, TurnOptions
from orchestrator.user_speech import UserSpeech
from services.common import tracing
from services.common.access.access import count_audio, count_request
from services.common.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    OverloadedError,
    ParleyError,
    QuotaExceededError,
)

log = logging.getLogger(__name__)

MAX_ITEMS_WAITING = 64
"""Items on their way to the history; who sends more at a time is told to wait."""


@dataclass(frozen=True)
class SessionOptions:
    """What all live sessions of a server share.

    Attributes:
        turn: how responses are made.
        speculation: whether responses begin at a pause that may be the end of the user's turn.
        false_interruption_timeout_s: seconds after which a held response goes on, where no words have come.
        continue_calls: whether outputs of functions are answered by themselves, once all are there.
        transcript_timeout_s: seconds after the end of speech, or for audio to be taken, until recognition has failed.
    """

    turn: TurnOptions
    speculation: bool = True
    false_interruption_timeout_s: float = 2.0
    continue_calls: bool = True
    transcript_timeout_s: float = 20.0


class LiveSession:
    """A conversation with one client. The methods named like client events may raise ParleyError; the session lives on.

    Events for the client go to `outbox`, in order.
    """

    def __init__(
        self, stages: Stages, session_id: str, config: SessionConfig, options: SessionOptions, metrics: TurnMetrics
    ) -> None:
        self.outbox = Outbox(self._audio_left)
        self.conversation_id = ""
        self.session_id = session_id
        self._stages = stages
        self._config = config
        self._options = options
        self._state = Session(
            f"{session_id}_response",
            continue_calls=options.continue_calls,
            speculation=options.speculation,
            false_interruption_timeout_s=options.false_interruption_timeout_s,
        )
        self._hearing = Hearing(
            stages.stt,
            session_id,
            config,
            pauses=options.speculation,
            timeout_s=options.transcript_timeout_s,
            on_event=lambda event: self._speech.on_event(event),
            on_lost=lambda error: self._speech.on_lost(error),
        )
        self._responses = Responses(
            stages,
            session_id,
            self.outbox,
            options.turn,
            metrics,
            on_audio=self._state.audio_started,
            on_call=self._state.function_called,
        )
        self._speech = UserSpeech(self._hearing, self._state, self._responses, self.outbox, self._execute)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefilling = Prefilling(self._prefill, self._own)
        self._items = Items(
            stages.llm,
            self.outbox,
            on_unanswered=lambda call_id: self._state.calls.restored((call_id,)),
            on_deleted=self._state.calls.deleted,
        )
        self._alarm: asyncio.TimerHandle | None = None
        self._active_at = clock.now()
        self._apply_config()

    async def open(self, conversation_id: str, *, resume: bool = False) -> None:
        """Begin a conversation under an id that nobody has used, or go on with the one of this id.

        Raises:
            ParleyError: for a name that is not known, or a service that is down.
        """
        await self._stages.check_names(self._config)
        self.conversation_id = self._items.conversation_id = self._responses.conversation_id = conversation_id
        if resume:
            pending = await self._stages.llm.open_conversation(conversation_id)
            self._state.calls.restored(tuple(sorted(pending)))
        else:
            await self._stages.llm.create_conversation(conversation_id)
        self.outbox.put(SessionCreated(self.session_id, self.conversation_id, self._config))

    async def update(self, config: SessionConfig) -> None:
        """Use another configuration from now on; a response that runs keeps its own."""
        await self._stages.check_names(config)
        self._config = config
        self._hearing.configure(config)
        self._apply_config()
        self.outbox.put(SessionUpdated(config))

    @property
    def config(self) -> SessionConfig:
        """The configuration in force."""
        return self._config

    @property
    def idle_since(self) -> float | None:
        """Since when nobody has said or asked for anything; None while somebody does."""
        return self._active_at if self._state.state is State.LISTENING else None

    @property
    def _idle(self) -> bool:
        """Whether nothing hangs on hearing the user's voice at once: they have not begun, or say when they have ended,
        and there is no answer to be interrupted.
        """
        manual = self._config.turn_detection.manual
        return self._state.current is None and (manual or self._state.state is State.LISTENING)

    def end(self, error: ParleyError) -> None:
        """End the session with this error."""
        self.outbox.fail(error)

    async def append_audio(self, audio: bytes) -> None:
        """Listen to this, in the session's input format; a session whose caller may send no more ends."""
        try:
            count_audio(len(audio) / self._config.input_format.bytes_per_second)
        except QuotaExceededError as error:
            self.end(error)
            return
        await self._hearing.append(audio, idle=self._idle)

    async def commit_audio(self) -> None:
        """The user's turn ends here.

        Raises:
            ParleyError: where recognition failed a moment ago, so that there is nothing to end.
        """
        await self._hearing.commit()
        self._state.turn_committed()

    def clear_audio(self) -> None:
        """Forget what was said since the last turn."""
        self._hearing.clear()

    def create_item(self, message: chat_pb2.Message, client_event_id: str) -> None:
        """Add a message to the history, in the order of these calls and before the next response. Once the outputs of
        all function calls are there, the response continues.

        Raises:
            OverloadedError: where too many wait already.
        """
        self._check_waiting()
        self._active_at = clock.now()
        if message.role != chat_pb2.ROLE_TOOL:
            self._own(self._items.add(message, client_event_id))
            return
        route, commands = self._state.function_output(message.tool_call_id, clock.now())
        if route is Route.AFTER_RESPONSE:
            self._items.keep(message, client_event_id)
        elif route is Route.LATE:
            self._own(self._items.add(late_output(message), client_event_id))
        elif route is not Route.VOID:
            self._own(self._items.add(message, client_event_id))
        self._execute(commands)

    def delete_item(self, item_id: str, client_event_id: str, *, missing_ok: bool = False) -> None:
        """Take an item out of the history, in the order of these calls and those of `create_item`.

        Args:
            item_id: of an utterance, a response or a message; or the id of a function call.
            client_event_id: of the event that asks for it.
            missing_ok: whether the item may have left nothing in the history, such as an answer that nobody heard.

        Raises:
            InvalidArgumentError: none is named.
            FailedPreconditionError: it belongs to the response that is running, or is not in the history yet.
            OverloadedError: where too many wait already.
        """
        if not item_id:
            raise InvalidArgumentError("is required", field=DELETED)
        if (turn := self._responses.current) is not None and turn.has(item_id):
            raise FailedPreconditionError("belongs to the response that is running: cancel that first", field=DELETED)
        if item_id == self._speech.untranscribed or self._state.waits(item_id):
            raise FailedPreconditionError("is not in the conversation yet", field=DELETED)
        self._check_waiting()
        self._active_at = clock.now()
        self._own(self._items.delete(item_id, client_event_id, missing_ok=missing_ok))

    def truncate(self, item_id: str, played_s: float) -> None:
        """The client played only so much of an item's audio.

        Raises:
            InvalidArgumentError: where that item is not being spoken.
        """
        turn = self._responses.current
        if turn is None or turn.item_id != item_id:
            raise InvalidArgumentError("this item is not being spoken", field="conversation_item_truncate.item_id")
        turn.truncate(played_s)

    def create_response(self, config: SessionConfig | None = None) -> None:
        """Answer what the conversation holds; with this configuration, if one is given, in place of the session's.

        Raises:
            QuotaExceededError: the caller has asked for as much as it may.
        """
        count_request()
        self._speech.heard = Heard(clock.now())
        self._responses.turn_begins(tracing.new_trace(), self._speech.heard.ended_at)
        self._execute(self._state.response_requested(clock.now(), config))

    def cancel_response(self, response_id: str) -> None:
        """Stop the response with this id, or the current one."""
        self._execute(self._state.cancel_requested(response_id))

    async def finish(self) -> None:
        """The client sends nothing more: answer what is still to be answered, then close the outbox."""
        await self._hearing.finish()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self.outbox.close()

    async def aclose(self) -> None:
        """Stop everything, settle the history, and wait for the end of it."""
        self._hearing.clear()
        self._execute(self._state.abandon())
        self._prefilling.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._hearing.aclose()
        try:
            await self._stages.llm.settle()
        except ParleyError as error:
            log.warning("the end of the history is lost", extra={"error": str(error)})
        self._responses.trace.end()
        if self._alarm is not None:
            self._alarm.cancel()

    def _execute(self, commands: list[Command]) -> None:
        self._active_at = clock.now()
        for command in commands:
            if isinstance(command, StartResponse):
                self._prefilling.drop()
                self._own(self._respond(self._responses.begin(command, self._config, self._speech.heard)))
            elif isinstance(command, Prefill):
                self._prefilling.want(command.words)
            elif isinstance(command, AnswerCalls):
                for call_id in command.call_ids:
                    self._own(self._items.add(no_output(call_id)))
            elif isinstance(command, KeepWords):
                self._own(self._items.add(user_message(command.text, command.item_id)))
            else:
                self._responses.steer(command, self._speech.heard)
        if self._responses.current is None and self._state.state is State.LISTENING:
            self._responses.trace.end()
        self._set_alarm()

    async def _respond(self, turn: Turn) -> None:
        await self._items.added()
        await turn.run()
        kept = frozenset(turn.calls)
        if kept and turn.cut:
            kept &= await self._items.pending_calls()
        for message, client_event_id in self._items.take(kept):
            self._own(self._items.add(message, client_event_id))
        self._responses.ended()
        self._execute(self._state.response_ended(turn.response_id, clock.now(), kept))

    async def _prefill(self, words: str) -> None:
        self._responses.trace.activate()
        await self._stages.llm.prefill(self._config, self.conversation_id, words)

    def _set_alarm(self) -> None:
        """Wake the state machine when it wants to be woken."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._state.wake_at is not None:
            delay_s = max(0.0, self._state.wake_at - clock.now())
            self._alarm = asyncio.get_running_loop().call_later(delay_s, self._on_alarm)

    def _on_alarm(self) -> None:
        self._execute(self._state.time_passed(clock.now()))

    def _audio_left(self, event: AudioDelta) -> None:
        turn = self._responses.current
        if turn is not None and turn.response_id == event.response_id:
            turn.output.audio_left(event)
            if self._speech.echo_guard:
                self._speech.agent_said(turn.output.playback.lately(event.offset_s))

    def _check_waiting(self) -> None:
        if len(self._tasks) + self._items.early >= MAX_ITEMS_WAITING:
            raise OverloadedError("too many items wait to be added", retry_after_s=1.0)

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)
        return task

    def _apply_config(self) -> None:
        self._state.interrupt_response = self._config.turn_detection.interrupt_response
        self._state.create_response = self._config.turn_detection.create_response
        self._state.hold_at_voice = not self._config.turn_detection.echo_guard
        self._speech.echo_guard = self._config.turn_detection.echo_guard
        if not self._config.text_only:
            self._options.turn.apology.want(self._config.output_format)
