"""The state machine of one live session: pure, no clock, no I/O. Events go in, commands come out.

| state         | user begins to speak     | transcript, or response asked for | audio begins | response ends         |
| ------------- | ------------------------ | --------------------------------- | ------------ | --------------------- |
| LISTENING     | -> USER_SPEAKING         | start -> THINKING                 |              |                       |
| USER_SPEAKING |                          | start -> THINKING                 |              |                       |
| THINKING      | cancel* -> USER_SPEAKING | queue                             | -> SPEAKING  | next, or -> LISTENING |
| SPEAKING      | cancel* -> USER_SPEAKING | queue                             |              | next, or -> LISTENING |

*where the session lets user speech interrupt; otherwise the state stays and the user is answered afterwards. A
cancelled response is still `current` until it has ended: what comes meanwhile is queued, so that its history is
settled first. An empty transcript starts nothing. Responses are recognised by their ids; what is said of an old one is
ignored.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from services.common.errors import InvalidArgumentError, OverloadedError

MAX_QUEUED_TURNS = 4


class State(Enum):
    """What the session is doing."""

    LISTENING = "listening"
    USER_SPEAKING = "user speaking"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True)
class TurnInput:
    """What a response answers: the user's words, or (None) what the conversation holds already."""

    text: str | None
    language_code: str = ""


@dataclass(frozen=True)
class StartResponse:
    """Command: begin this response."""

    response_id: str
    input: TurnInput


@dataclass(frozen=True)
class CancelResponse:
    """Command: stop this response, and report its end with `response_ended`."""

    response_id: str


Command = StartResponse | CancelResponse


@dataclass
class Session:
    """See the module's table. Ids of responses are counted: `PREFIX_1`, `PREFIX_2`."""

    prefix: str
    interrupt_response: bool = True
    create_response: bool = True
    state: State = State.LISTENING
    current: str | None = None
    _serial: int = 0
    _cancelling: bool = False
    _queue: deque[TurnInput] = field(default_factory=deque)

    def speech_started(self) -> list[Command]:
        """The user begins to speak."""
        if self.current is None:
            self.state = State.USER_SPEAKING
            return []
        if not self.interrupt_response:
            return []
        self.state = State.USER_SPEAKING
        self._queue.clear()  # what waits was said before the user changed their mind
        return self._cancel()

    def transcript_completed(self, text: str, language_code: str) -> list[Command]:
        """The user's words are known.

        Raises:
            OverloadedError: where too many turns wait already.
        """
        if not text.strip() or not self.create_response:
            if self.state is State.USER_SPEAKING and self.current is None:
                self.state = State.LISTENING
            return []
        return self._start(TurnInput(text, language_code))

    def response_requested(self) -> list[Command]:
        """The client asks for a response to what the conversation holds.

        Raises:
            OverloadedError: where too many turns wait already.
        """
        return self._start(TurnInput(None))

    def cancel_requested(self, response_id: str) -> list[Command]:
        """The client cancels a response, or with an empty id the current one.

        Raises:
            InvalidArgumentError: where that one is not running.
        """
        if self.current is None or response_id not in ("", self.current):
            raise InvalidArgumentError("no such response is running", field="response_cancel.response_id")
        return self._cancel()

    def audio_started(self, response_id: str) -> None:
        """The first audio of a response is on its way."""
        if response_id == self.current and self.state is State.THINKING:
            self.state = State.SPEAKING

    def response_ended(self, response_id: str) -> list[Command]:
        """A response is over, in whatever way, and its history is settled."""
        if response_id != self.current:
            return []
        self.current, self._cancelling = None, False
        if self._queue:
            return self._start(self._queue.popleft())
        if self.state is not State.USER_SPEAKING:
            self.state = State.LISTENING
        return []

    def abandon(self) -> list[Command]:
        """The client has gone: nothing that waits is answered."""
        self._queue.clear()
        return self._cancel()

    def _start(self, turn: TurnInput) -> list[Command]:
        if self.current is not None:
            if len(self._queue) >= MAX_QUEUED_TURNS:
                raise OverloadedError("too many turns wait for the response that is running", retry_after_s=1.0)
            self._queue.append(turn)
            return []
        self._serial += 1
        self.current = f"{self.prefix}_{self._serial}"
        self.state = State.THINKING
        return [StartResponse(self.current, turn)]

    def _cancel(self) -> list[Command]:
        if self._cancelling or self.current is None:
            return []
        self._cancelling = True
        return [CancelResponse(self.current)]
