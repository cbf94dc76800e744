"""The utterances of a session whose final transcripts are still to come. Pure."""

from collections import deque
from dataclasses import dataclass, replace

from orchestrator.domain import (
    ListeningEvent,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
)


@dataclass
class Utterance:
    """Attributes:
    item_id: what the client calls it.
    start_s: seconds from the session's first audio, as `end_s`.
    end_s: None while it lasts.
    by_client: whether the client has ended it.
    """

    item_id: str
    start_s: float
    end_s: float | None = None
    by_client: bool = False


class Utterances:
    """In the order in which they are spoken. Where recognition is lost, another one hears the same audio: what the
    client knows of an utterance already is not told again, and its item keeps its id.
    """

    def __init__(self) -> None:
        self._known: list[Utterance] = []
        self._to_come: deque[Utterance] = deque()
        self._called: dict[str, Utterance] = {}
        self._told_to_end = 0
        """Those that the client has ended, and the service not yet."""

    @property
    def since_s(self) -> float | None:
        """Where the oldest begins; None where there is none."""
        return self._known[0].start_s if self._known else None

    @property
    def any_ended(self) -> bool:
        """Whether one has ended, so that its final transcript is due."""
        return self._told_to_end > 0 or any(utterance.end_s is not None for utterance in self._known)

    def turn_ended(self) -> None:
        """The client ends its turn: so the next utterance that stops is ended by it."""
        self._told_to_end += 1

    def clear(self) -> None:
        """None of them will be transcribed."""
        self._known.clear()
        self._to_come.clear()
        self._called.clear()
        self._told_to_end = 0

    def begin_again(self) -> None:
        """All of them will be heard once more, under other ids."""
        self._to_come = deque(self._known)
        self._called.clear()

    def told(self, event: ListeningEvent) -> ListeningEvent | None:
        """The event under the id that the client knows; None where it has been told of it.

        Args:
            event: its place is in seconds from the session's first audio, its id unique.
        """
        if isinstance(event, SpeechStarted | SpeechStopped) and event.item_id not in self._called:
            if not self._to_come:
                start_s = event.start_s if isinstance(event, SpeechStarted) else event.end_s
                new = self._called[event.item_id] = Utterance(event.item_id, start_s)
                self._known.append(new)
            else:
                self._called[event.item_id] = self._to_come.popleft()
                if isinstance(event, SpeechStarted):
                    return None
        utterance = self._called.get(event.item_id)
        if utterance is None:
            return event
        if utterance.end_s is not None and isinstance(event, SpeechStopped | SpeechPaused | SpeechResumed):
            return None
        if isinstance(event, SpeechStopped):
            utterance.end_s, utterance.by_client = event.end_s, self._told_to_end > 0
            self._told_to_end = max(0, self._told_to_end - 1)
        return replace(event, item_id=utterance.item_id)

    def transcribed(self, item_id: str) -> Utterance | None:
        """Take out the one that the client knows by this id, now that its words are known; None where there is none."""
        for utterance in self._known:
            if utterance.item_id == item_id:
                self._known.remove(utterance)
                self._called = {called: other for called, other in self._called.items() if other is not utterance}
                return utterance
        return None
