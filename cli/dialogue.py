"""What has been said in a conversation, gathered from its events. No I/O and no clock: the caller says when."""

from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from parley_client import events

Seconds: TypeAlias = float
UNKNOWN = "UNKNOWN"
"""The reason of a failure whose reason a newer server has not told in words that are known here."""


@dataclass
class Turn:
    """One turn of the user and the answer to it.

    Attributes:
        speech_end_s: where the user's speech ended, in seconds of the audio sent.
        transcript, language: what the user said.
        answer: the text of the answer; `spoken` is what was heard of it.
        audio_bytes: speech received, in the session's output format.
        first_audio_s: from the end of the user's speech to the first byte of the answer, as measured here.
        outcome: how the answer ended; None while it has not.
        timings: the server's measurements.
        superseded: the user spoke on before the answer began, so that there may never be one.
        error: the reason that the server gave where it failed; without an answer there will be none.
    """

    item_id: str
    speech_end_s: Seconds | None = None
    transcript: str = ""
    language: str = ""
    response_id: str = ""
    answer: str = ""
    spoken: str = ""
    audio_bytes: int = 0
    first_audio_s: Seconds | None = None
    outcome: events.Outcome | None = None
    timings: events.Timings | None = None
    superseded: bool = False
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "outcome": self.outcome.value if self.outcome else None}


@dataclass
class Dialogue:
    """The turns so far. `feed` every event, with the seconds since the first audio was sent."""

    turns: list[Turn] = field(default_factory=list)
    heard_at_s: Seconds = 0.0
    """When the last event came."""
    _open_items: set[str] = field(default_factory=set)
    _open_responses: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> bool:
        """Whether something is still to come: speech to be transcribed, an answer to begin or to end."""
        unanswered = self._last_unanswered()
        asked = unanswered is not None and not unanswered.superseded and not unanswered.error
        return bool(self._open_items or self._open_responses or asked)

    def feed(self, event: events.Event, at_s: Seconds) -> None:
        """Take in one event."""
        self.heard_at_s = at_s
        match event:
            case events.SpeechStarted(item_id):
                self._supersede(item_id)
                self._open_items.add(item_id)
            case events.SpeechStopped(item_id, end_s):
                self._item(item_id).speech_end_s = end_s
            case events.FinalTranscript(item_id, text, language):
                self._open_items.discard(item_id)
                turn = self._item(item_id)
                turn.transcript, turn.language = text.strip(), language
                if not turn.transcript:
                    self.turns.remove(turn)
            case events.ResponseStarted(response_id):
                self._open_responses.add(response_id)
                if (asked := self._last_unanswered()) is not None:
                    asked.response_id = response_id
            case events.TextDelta(response_id, text):
                if (turn_ := self._answering(response_id)) is not None:
                    turn_.answer += text
            case events.AudioDelta(response_id, data, _):
                if (turn_ := self._answering(response_id)) is not None:
                    self._add_audio(turn_, data, at_s)
            case events.ResponseEnded(response_id, outcome, spoken, timings):
                self._open_responses.discard(response_id)
                if (turn_ := self._answering(response_id)) is not None:
                    turn_.outcome, turn_.spoken, turn_.timings = outcome, spoken, timings
            case events.Reconnected():
                self._open_items.clear()
                self._open_responses.clear()
            case events.TurnFailed(_, reason):
                self._failed(reason)
            case _:
                pass

    def _supersede(self, item_id: str) -> None:
        """The user says this now: what they said before may never be answered, transcribed or not."""
        asking = self._last_unanswered()
        for turn in self.turns:
            if turn is asking or turn.item_id in self._open_items - {item_id}:
                turn.superseded = True

    def _failed(self, reason: str) -> None:
        """An answer that fails has its own end; where none was begun, there is nothing more to wait for."""
        answering = [turn for turn in self.turns if turn.response_id in self._open_responses]
        if not answering:
            answering = [self._item(item_id) for item_id in self._open_items]
            self._open_items.clear()
            if (asked := self._last_unanswered()) is not None:
                answering.append(asked)
        for turn in answering:
            turn.error = reason or UNKNOWN

    @staticmethod
    def _add_audio(turn: Turn, data: bytes, at_s: Seconds) -> None:
        if not turn.audio_bytes and turn.speech_end_s is not None:
            turn.first_audio_s = at_s - turn.speech_end_s
        turn.audio_bytes += len(data)

    def _item(self, item_id: str) -> Turn:
        """The turn of an utterance, made at its first event."""
        for turn in reversed(self.turns):
            if turn.item_id == item_id:
                return turn
        self.turns.append(Turn(item_id))
        return self.turns[-1]

    def _last_unanswered(self) -> Turn | None:
        return next((turn for turn in reversed(self.turns) if turn.transcript and not turn.response_id), None)

    def _answering(self, response_id: str) -> Turn | None:
        return next((turn for turn in reversed(self.turns) if turn.response_id == response_id), None)
