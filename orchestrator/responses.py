"""The response of a live session, one at a time: begun and steered as the state machine commands."""

from collections.abc import Callable

from orchestrator import clock
from orchestrator.commands import (
    CancelResponse,
    ConfirmResponse,
    DiscardResponse,
    FinishResponse,
    HoldResponse,
    ResumeResponse,
    StartResponse,
)
from orchestrator.domain import SessionConfig
from orchestrator.messages import user_message
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.output import item_id_of
from orchestrator.stages import Stages
from orchestrator.stages.language_model import Prompt
from orchestrator.turn import Heard, Turn, TurnOptions
from services.common import tracing

Steering = ConfirmResponse | DiscardResponse | HoldResponse | ResumeResponse | CancelResponse | FinishResponse
"""Commands to a response that is there."""


class Responses:
    """Also knows the trace of the user's turn that is being answered.

    Args:
        on_audio: called with the id of a response when the client takes its first audio.
        on_call: called with the ids of a response and of each function call that the client is given.
    """

    def __init__(
        self,
        stages: Stages,
        session_id: str,
        outbox: Outbox,
        options: TurnOptions,
        metrics: TurnMetrics,
        on_audio: Callable[[str], None],
        on_call: Callable[[str, str], None],
    ) -> None:
        self._stages, self._session_id, self._outbox = stages, session_id, outbox
        self._options, self._metrics = options, metrics
        self._on_audio, self._on_call = on_audio, on_call
        self.conversation_id = ""
        self.current: Turn | None = None
        self.trace = tracing.OFF
        """Of the user's turn: from its beginning to the end of the answer."""
        self._busy_until = 0.0

    def turn_begins(self, context: tracing.Context | None, at: float) -> None:
        """The user speaks, or asks for a response; their turn before is over, unless it is being answered."""
        if self.current is None or self.current.trace is not self.trace:
            self.trace.end()
        self.trace = self._new_trace(context, at)

    def begin(self, command: StartResponse, config: SessionConfig, heard: Heard) -> Turn:
        """A response, to be run; `heard` tells when the words were known that it answers."""
        words, response_id = command.input, command.response_id
        messages = () if words.text is None else (user_message(words.text, words.item_id),)
        self.current = turn = Turn(
            self._stages,
            words.config or config,
            self._outbox,
            response_id,
            Prompt(messages, self.conversation_id, words.language_code, item_id_of(response_id)),
            self._options,
            self._metrics,
            on_audio=lambda: self._on_audio(response_id),
            on_call=lambda call_id: self._on_call(response_id, call_id),
            busy_until=self._busy_until,
            trace=self._new_trace(tracing.new_trace(), clock.now()) if words.continues else self.trace,
        )
        if not command.speculative:
            # What goes on from a function's output answers no speech: it is timed from now.
            turn.confirm(heard if messages else Heard(clock.now()))
        return turn

    def steer(self, command: Steering, heard: Heard) -> None:
        """Do this to the response that it names, if that is still there."""
        turn = self.current
        if turn is None or turn.response_id != command.response_id:
            return
        match command:
            case ConfirmResponse():
                self._metrics.confirmed(turn.ahead_s)
                turn.confirm(heard)
            case DiscardResponse():
                turn.discard()
            case FinishResponse():
                turn.finish()
            case HoldResponse():
                turn.output.hold()
            case ResumeResponse():
                self._metrics.interrupted(real=False)
                turn.output.resume()
            case CancelResponse():
                if turn.output.playback.held:
                    self._metrics.interrupted(real=True)
                turn.output.hold()
                turn.cancel()

    def hold_for_voice(self, voice_at: float | None) -> None:
        """The user's voice stops what is being played; it began at `voice_at`, where that is known."""
        turn = self.current
        if turn is None:
            return
        if turn.output.playing and voice_at is not None:
            self._metrics.stopped(clock.now() - voice_at)
            tracing.begin("barge-in", parent=turn.trace.context, at=voice_at).end()
        turn.output.hold()

    def ended(self) -> None:
        """The response has ended; the client may still be playing it."""
        if self.current is not None:
            self._busy_until = self.current.output.playback.ends_at
        self.current = None

    def _new_trace(self, context: tracing.Context | None, at: float) -> tracing.Span:
        attributes = {"session.id": self._session_id, "gen_ai.conversation.id": self.conversation_id}
        return tracing.begin("turn", attributes, context=context, at=at)
