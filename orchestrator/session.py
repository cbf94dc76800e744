"""The state machine of one live session: pure, no I/O, told the time. Events go in, commands (`commands.py`) come out.

| event            | LISTENING         | USER_SPEAKING       | THINKING, SPEAKING      | HELD                      |
| ---------------- | ----------------- | ------------------- | ----------------------- | ------------------------- |
| speech started   | prefill           | prefill             | hold -> HELD            |                           |
|                  | -> USER_SPEAKING  |                     |                         |                           |
| words (interim)  |                   | prefill             | cancel -> USER_SPEAKING | cancel -> USER_SPEAKING   |
| words at a pause |                   | speculate           | cancel, speculate       | cancel, speculate         |
|                  |                   |                     | -> USER_SPEAKING        | -> USER_SPEAKING          |
| none at a pause  |                   |                     |                         | resume                    |
| speech resumed   |                   | discard speculation | hold -> HELD            |                           |
| words, final     | start -> THINKING | confirm speculation | cancel, queue           | cancel, queue             |
|                  |                   | or start: THINKING  |                         |                           |
| none, final      |                   | discard speculation |                         | resume                    |
|                  |                   | -> LISTENING        |                         |                           |
| time is up       |                   |                     |                         | resume                    |
| audio begins     |                   |                     | -> SPEAKING             |                           |
| response asked   | start -> THINKING | start -> THINKING   | queue                   | queue                     |
| response ends    |                   |                     | next, or -> LISTENING   | next, or -> USER_SPEAKING |

*Words* are what may interrupt: not an empty transcript, not "mm-hm" while the agent has its say (`interruptions.py`).
`resume` leads back to THINKING or SPEAKING. Where the session forbids interruptions, nothing is held or cancelled, and
the user is answered afterwards. Where utterances are not answered by themselves, their words are kept in the history,
and a response that is asked for waits for those that are on their way. A speculation is a response that the client does
not know of, begun at a pause that may be the end of the user's turn; the state stays USER_SPEAKING until it is
confirmed. A response that was cancelled or discarded is still there until it has ended: what comes meanwhile is queued,
so that its history is settled first.
Responses are recognised by their ids, utterances by theirs; what is said of an old one is ignored.

A response that has made function calls is continued by another as soon as it has ended and all outputs are there; where
they are there earlier, it ends as soon as its audio is sent. Whoever speaks while outputs are missing is answered
without them (`tool_calls.py`).
"""

import itertools
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum

from orchestrator.commands import (
    AnswerCalls,
    CancelResponse,
    Command,
    ConfirmResponse,
    DiscardResponse,
    FinishResponse,
    HoldResponse,
    KeepWords,
    Prefill,
    ResumeResponse,
    StartResponse,
    TurnInput,
)
from orchestrator.domain import SessionConfig
from orchestrator.interruptions import normalized
from orchestrator.tool_calls import Route, ToolCalls
from services.common.errors import InvalidArgumentError, OverloadedError, ToolOutputPendingError

MAX_QUEUED_TURNS = 4
MAX_SPECULATIONS = 3
"""Tries for one turn of the user's: who pauses more often is not well guessed at."""


class State(Enum):
    """What the session is doing."""

    LISTENING = "listening"
    USER_SPEAKING = "user speaking"
    THINKING = "thinking"
    SPEAKING = "speaking"
    HELD = "held"


@dataclass
class _Response:
    id: str
    input: TurnInput
    speculative: bool
    audible: bool = False
    ending: bool = False


@dataclass
class _Voice:
    """The utterance whose final transcript is still to come."""

    utterance: str
    speaking: bool = True
    guesses: int = 0
    ignored: bool = False
    """It was taken for noise once: only words count now."""
    text: str = ""
    settled: str = ""
    """What the latest two interim transcripts agree in."""


@dataclass
class Session:
    """See the module's table. Ids of responses are counted: `PREFIX_1`, `PREFIX_2`.

    Attributes:
        continue_calls: whether what functions have returned is answered by itself, once all of it is there.
        hold_at_voice: whether the user's voice holds a response; otherwise only their words stop it.
        false_interruption_timeout_s: seconds after which a held response goes on, where no words have come.
        wake_at: when `time_passed` must be called; None where there is nothing to wait for.
    """

    prefix: str
    interrupt_response: bool = True
    create_response: bool = True
    continue_calls: bool = True
    hold_at_voice: bool = True
    speculation: bool = True
    false_interruption_timeout_s: float = 2.0
    wake_at: float | None = None
    _serial: int = 0
    _response: _Response | None = None
    _voice: _Voice | None = None
    _queue: deque[TurnInput] = field(default_factory=deque)
    _guess: TurnInput | None = None
    _committed: bool = False
    """The client has ended a turn whose transcript is still to come."""
    _asked: TurnInput | None = None
    """The response that was asked for before those words were known."""
    _abandoned: bool = False
    _language_code: str = ""
    """Of the user's last words: what continues after a function call is said in it, too."""
    calls: ToolCalls = field(default_factory=ToolCalls)

    @property
    def state(self) -> State:
        """What the session is doing."""
        running = self._running
        if running is None:
            return State.LISTENING if self._voice is None else State.USER_SPEAKING
        if self.wake_at is not None:
            return State.HELD
        return State.SPEAKING if running.audible else State.THINKING

    @property
    def current(self) -> str | None:
        """The response that has not ended yet."""
        return self._response.id if self._response else None

    def waits(self, utterance: str) -> bool:
        """Whether the words of an utterance are to be answered after the current response."""
        return any(turn.item_id == utterance for turn in self._queue)

    # What the user does

    def speech_started(self, utterance: str, now: float) -> list[Command]:
        """The user begins to speak."""
        self._voice = _Voice(utterance)
        return self._hold(now) if self._response is not None else [Prefill()]

    def speech_paused(self, utterance: str) -> None:
        """The user is silent; perhaps their turn is over."""
        if self._voice is not None and self._voice.utterance == utterance:
            self._voice.speaking = False

    def speech_resumed(self, utterance: str, now: float) -> list[Command]:
        """The user goes on after a pause: what was begun at the pause is void."""
        voice = self._voice
        if voice is None or voice.utterance != utterance:
            return []
        voice.speaking = True
        self._guess = None
        return self._discard() or ([] if voice.ignored else self._hold(now))

    def speech_stopped(self, utterance: str) -> None:
        """The user's turn is over; its transcript follows."""
        self.speech_paused(utterance)

    def turn_committed(self) -> None:
        """The client has ended the user's turn; its transcript follows."""
        self._committed = True

    def words_heard(self, utterance: str, text: str, *, words: bool) -> list[Command]:
        """An interim transcript; `words` says whether it may interrupt."""
        voice = self._voice
        if voice is None or voice.utterance != utterance:
            return []
        known, voice.settled, voice.text = voice.settled, _agreed(voice.text, text), text
        if self._response is None and voice.settled and voice.settled != known:
            return [Prefill(voice.settled)]
        return self._interrupt() if words else []

    def pause_transcribed(self, utterance: str, text: str, language_code: str, *, words: bool) -> list[Command]:
        """What the user has said up to a pause."""
        voice = self._voice
        if voice is None or voice.utterance != utterance or voice.speaking:
            return []
        commands = self._interrupt() if words else self._resume()
        if self._running is not None or not text.strip() or not self.speculation or not self.create_response:
            return commands
        if self._queue or self.calls.pending or voice.guesses >= MAX_SPECULATIONS:
            return commands
        self._guess = TurnInput(text, language_code, item_id=utterance)
        return commands if self._response is not None else self._speculate(voice)

    def transcript_completed(
        self, utterance: str, text: str, language_code: str, now: float, *, words: bool = True
    ) -> list[Command]:
        """The user's words are known.

        Raises:
            OverloadedError: where too many turns wait already.
        """
        if self._voice is not None and self._voice.utterance == utterance:
            self._voice = None
        self._guess, self._committed = None, False
        asked, self._asked = self._asked, None
        answer = bool(text.strip()) and self.create_response
        if text.strip():
            self._language_code = language_code
        response = self._response
        if response is not None and response.speculative and not response.ending:
            if answer and normalized(text) == normalized(response.input.text or ""):
                response.speculative = False
                return [ConfirmResponse(response.id), *self._hold_for_voice(now)]
            commands = self._discard()
        elif self._running is not None:
            if not words:
                return self._resume()
            commands = self._interrupt()
        else:
            commands = []
        if answer:
            return [*commands, *self._start(TurnInput(text, language_code, item_id=utterance), now)]
        if text.strip() and not self._abandoned:
            commands = [*commands, KeepWords(text, utterance)]
        if asked is not None:
            commands = [*commands, *self._start(replace(asked, language_code=language_code), now)]
        return commands

    def speech_lost(self, now: float) -> list[Command]:
        """What is being said will have no transcript."""
        self._voice = self._guess = None
        self._committed, asked, self._asked = False, self._asked, None
        commands = self._discard() or self._resume()
        return commands if asked is None else [*commands, *self._start(asked, now)]

    # What the client asks for

    def response_requested(self, now: float, config: SessionConfig | None = None) -> list[Command]:
        """The client asks for a response to what the conversation holds, with a configuration of its own if it says so.
        What continues by itself needs no asking; words that are on their way, and are not answered by themselves, are
        waited for.

        Raises:
            ToolOutputPendingError: calls of functions wait for their outputs.
            OverloadedError: where too many turns wait already.
        """
        if self.calls.pending:
            raise ToolOutputPendingError("function calls wait for their outputs", field="response_create")
        if self._continues():
            return []
        asked = TurnInput(None, self._language_code, config=config)
        ended = self._committed or (self._voice is not None and not self._voice.speaking)
        if ended and not self.create_response:
            self._asked = asked
            return []
        return [*self._discard(), *self._start(asked, now)]

    def cancel_requested(self, response_id: str) -> list[Command]:
        """The client cancels a response, or with an empty id the current one.

        Raises:
            InvalidArgumentError: where that one is not running.
        """
        known = self._response
        if known is None or known.speculative or response_id not in ("", known.id):
            raise InvalidArgumentError("no such response is running", field="response_cancel.response_id")
        return self._cancel()

    def abandon(self) -> list[Command]:
        """The client has gone: nothing that waits is answered."""
        self._queue.clear()
        self._guess = self._asked = None
        self.create_response, self._abandoned = False, True
        return self._discard() or self._cancel()

    # What happens to the response

    def audio_started(self, response_id: str) -> None:
        """The first audio of a response is on its way."""
        if self._response is not None and response_id == self._response.id:
            self._response.audible = True

    def function_called(self, response_id: str, call_id: str) -> None:
        """The client has been given a function call."""
        if self._running is not None and response_id == self._running.id:
            self.calls.made(call_id)

    def function_output(self, call_id: str, now: float) -> tuple[Route, list[Command]]:
        """The client gives the output of a call: where it belongs, and what follows."""
        route = self.calls.output(call_id)
        running = self._running
        if route is Route.AFTER_RESPONSE and running is not None and self.calls.all_answered:
            return route, [FinishResponse(running.id)]
        if route in (Route.NOW, Route.LATE) and not self.calls.pending:
            return route, self._continue(now)
        return route, []

    def response_ended(self, response_id: str, now: float, kept_calls: frozenset[str] = frozenset()) -> list[Command]:
        """A response is over, in whatever way, and its history is settled: with these of its function calls."""
        if self._response is None or response_id != self._response.id:
            return []
        self._response = None
        self.wake_at = None
        if self.calls.response_ended(kept_calls) and not self._queue:
            return self._continue(now)
        if self._queue:
            return self._start(self._queue.popleft(), now)
        if self._guess is not None and self._voice is not None and not self._voice.speaking:
            return self._speculate(self._voice)
        return []

    def time_passed(self, now: float) -> list[Command]:
        """It is `wake_at`: no words have come, so that the user's voice was no interruption."""
        if self.wake_at is None or now < self.wake_at:
            return []
        if self._voice is not None:
            self._voice.ignored = True
        return self._resume()

    # Responses

    @property
    def _running(self) -> _Response | None:
        """The response that the client knows of and that has not been stopped."""
        known = self._response
        return known if known is not None and not known.speculative and not known.ending else None

    def _continues(self) -> bool:
        """Whether what the conversation holds is being answered already, or will be."""
        running = self._running
        return (running is not None and running.input.continues) or any(turn.continues for turn in self._queue)

    def _continue(self, now: float) -> list[Command]:
        """Answer the outputs of functions."""
        if not self.create_response or not self.continue_calls or any(turn.continues for turn in self._queue):
            return []
        return [*self._discard(), *self._start(TurnInput(None, self._language_code, continues=True), now)]

    def _start(self, turn: TurnInput, now: float) -> list[Command]:
        if self._response is not None:
            if len(self._queue) >= MAX_QUEUED_TURNS:
                raise OverloadedError("too many turns wait for the response that is running", retry_after_s=1.0)
            self._queue.append(turn)
            return []
        unanswered = self.calls.give_up()
        commands: list[Command] = [AnswerCalls(unanswered)] if unanswered else []
        return [*commands, self._begin(turn, speculative=False), *self._hold_for_voice(now)]

    def _speculate(self, voice: _Voice) -> list[Command]:
        guess, self._guess = self._guess, None
        assert guess is not None
        voice.guesses += 1
        return [self._begin(guess, speculative=True)]

    def _begin(self, turn: TurnInput, *, speculative: bool) -> StartResponse:
        self._serial += 1
        self._response = _Response(f"{self.prefix}_{self._serial}", turn, speculative)
        return StartResponse(self._response.id, turn, speculative)

    def _hold_for_voice(self, now: float) -> list[Command]:
        """A response that begins while the user speaks on waits until it is known what they say."""
        return self._hold(now) if self._voice is not None and self._voice.speaking else []

    def _hold(self, now: float) -> list[Command]:
        running = self._running
        if running is None or self.wake_at is not None or not self.interrupt_response or not self.hold_at_voice:
            return []
        self.wake_at = now + self.false_interruption_timeout_s
        return [HoldResponse(running.id)]

    def _resume(self) -> list[Command]:
        running = self._running
        if running is None or self.wake_at is None:
            return []
        self.wake_at = None
        return [ResumeResponse(running.id)]

    def _interrupt(self) -> list[Command]:
        if self._running is None or not self.interrupt_response:
            return []
        self._queue.clear()  # what waits was said before the user changed their mind
        return self._cancel()

    def _cancel(self) -> list[Command]:
        running = self._running
        if running is None:
            return []
        running.ending = True
        self.wake_at = None
        return [CancelResponse(running.id)]

    def _discard(self) -> list[Command]:
        known = self._response
        if known is None or not known.speculative or known.ending:
            return []
        known.ending = True
        return [DiscardResponse(known.id)]


def _agreed(before: str, text: str) -> str:
    """The words that two transcripts begin with in common."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before.split(), text.split(), strict=False))
    return " ".join(word for word, _ in pairs)
