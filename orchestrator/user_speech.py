"""What is heard of the user: the client and the state machine are told, in the order that the client can follow."""

from collections.abc import Callable
from dataclasses import replace

from orchestrator import clock
from orchestrator.commands import CancelResponse, Command, HoldResponse
from orchestrator.domain import (
    Failure,
    ListeningEvent,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptEvent,
    TranscriptUpdated,
)
from orchestrator.hearing import Hearing
from orchestrator.interruptions import Echo, interrupts
from orchestrator.outbox import Outbox
from orchestrator.responses import Responses
from orchestrator.session import Session
from orchestrator.turn import Heard
from services.common import tracing
from services.common.errors import ParleyError


class UserSpeech:
    """Takes the events of `hearing` with `on_event` and `on_lost`.

    Args:
        execute: carries out what the state machine wants done.
    """

    def __init__(
        self,
        hearing: Hearing,
        state: Session,
        responses: Responses,
        outbox: Outbox,
        execute: Callable[[list[Command]], None],
    ) -> None:
        self._hearing, self._state, self._responses, self._outbox = hearing, state, responses, outbox
        self._execute = execute
        self._echo = Echo()
        self._voice_at: float | None = None
        """When the voice that is being heard began; None where that is not known."""
        self.echo_guard = False
        """Whether the client wants its own echo noticed."""
        self.heard = Heard(clock.now())
        """When the words were known that the next response answers."""
        self.untranscribed = ""
        """The utterance whose final transcript is still to come."""

    def agent_said(self, text: str) -> None:
        """What the client plays just now, which may come back through its microphone."""
        self._echo.spoken(text, clock.now())

    def on_event(self, event: ListeningEvent) -> None:
        """Recognition has heard this."""
        now = clock.now()
        match event:
            case SpeechStarted(item_id, start_s):
                self.untranscribed = item_id
                self._voice_at = self._hearing.arrived_at(start_s)
                self._responses.turn_begins(tracing.of_utterance(self._hearing.utterance_id), self._voice_at)
                self._on_voice(event, self._state.speech_started(item_id, now))
            case SpeechPaused(item_id, at_s):
                self.heard = Heard(self._hearing.arrived_at(at_s))
                self._state.speech_paused(item_id)
            case SpeechResumed(item_id):
                self._voice_at = None
                self._on_words(item_id, self._state.speech_resumed(item_id, now))
            case SpeechStopped(item_id, end_s):
                self.untranscribed = item_id
                ended_at = self._hearing.arrived_at(end_s)
                self.heard = Heard(ended_at, endpointing=now - ended_at)
                self._state.speech_stopped(item_id)
                self._outbox.put(event)
            case TranscriptUpdated(item_id, text, language_code, at_pause):
                text = self._without_echo(text)
                words = interrupts(text, language_code)
                if at_pause:
                    commands = self._state.pause_transcribed(item_id, text, language_code, words=words)
                else:
                    commands = self._state.words_heard(item_id, text, words=words)
                self._on_words(item_id, commands, event)
            case TranscriptCompleted(item_id, text, language_code):
                self.untranscribed = ""
                self.heard = replace(self.heard, final_transcript=now - self.heard.ended_at)
                text = self._without_echo(text)
                words = interrupts(text, language_code)
                try:
                    commands = self._state.transcript_completed(item_id, text, language_code, now, words=words)
                except ParleyError as error:
                    self._outbox.put(event)
                    self._outbox.put(Failure(error))
                else:
                    self._on_words(item_id, commands, event)

    def on_lost(self, error: ParleyError | None) -> None:
        """What is being said will have no transcript, for this reason or because the client wants it so."""
        if error is not None:
            self._outbox.put(Failure(error, item_id=self.untranscribed))
        self.untranscribed = ""
        self._execute(self._state.speech_lost(clock.now()))

    def _on_voice(
        self, started: SpeechStarted, commands: list[Command], transcript: TranscriptEvent | None = None
    ) -> None:
        """The user's voice: the client hears of it first, and nothing that it should not play follows."""
        if _stops(commands):
            self._responses.hold_for_voice(self._voice_at)
        self._outbox.put(started)
        if transcript is not None:
            self._outbox.put(transcript)
        self._execute(commands)

    def _on_words(self, item_id: str, commands: list[Command], transcript: TranscriptEvent | None = None) -> None:
        """The user's words; where they stop a response that is being played, the client stops playing first, and then
        reads them: after its final transcript nothing more is heard of an utterance.
        """
        turn = self._responses.current
        if _stops(commands) and turn is not None and turn.output.playing:
            self._on_voice(SpeechStarted(item_id, self._hearing.position_s), commands, transcript)
        else:
            if transcript is not None:
                self._outbox.put(transcript)
            self._execute(commands)

    def _without_echo(self, text: str) -> str:
        """What the user said of this: nothing where it is the agent's own voice, and the client wants that noticed."""
        return "" if self.echo_guard and self._echo.is_of(text, clock.now()) else text


def _stops(commands: list[Command]) -> bool:
    """Whether the client is to stop playing."""
    return any(isinstance(command, HoldResponse | CancelResponse) for command in commands)
