"""What the callers saw, against what the store of conversations holds. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parley_client.events import Outcome


@dataclass
class Response:
    """A response that a caller was told of.

    Attributes:
        item_id: of its answer, in the history as well.
        outcome: how it ended; None while nobody was told.
        spoken: what was heard of it.
        cut: the session was lost, or left, while it was being made.
    """

    item_id: str
    outcome: Outcome | None = None
    spoken: str = ""
    cut: bool = False


@dataclass
class Seen:
    """What the callers of a conversation saw of it."""

    conversation_id: str
    responses: dict[str, Response] = field(default_factory=dict)
    hung: list[str] = field(default_factory=list)
    """Turns that nothing came of in time."""
    errors: Counter[str] = field(default_factory=Counter)

    def lose(self) -> None:
        """The session is gone: what was being answered is lost with it."""
        for response in self.responses.values():
            response.cut = response.cut or response.outcome is None


@dataclass(frozen=True)
class Stored:
    """A message of the history."""

    item_id: str
    text: str


def reconcile(seen: Seen, history: Sequence[Stored]) -> list[str]:
    """What is wrong with a conversation; nothing, where all that its callers were told of is there, and no more."""
    wrong = [f"hung: {turn}" for turn in seen.hung]
    known = {response.item_id: response for response in seen.responses.values()}
    texts = {message.item_id: message.text for message in history if message.item_id}
    for item_id, count in Counter(message.item_id for message in history if message.item_id).items():
        if count > 1:
            wrong.append(f"{item_id} is in the history {count} times")
    for response_id, response in seen.responses.items():
        if response.outcome is None and not response.cut:
            wrong.append(f"{response_id} was created and never done")
        if response.outcome is None or response.cut:
            continue
        kept = texts.get(response.item_id)
        if response.outcome in (Outcome.COMPLETED, Outcome.CANCELLED) and (kept or "") != response.spoken:
            told = "said to be heard" if response.outcome is Outcome.CANCELLED else "completed"
            wrong.append(f"{response_id}: {told} {response.spoken!r}, kept {kept!r}")
    answers = (item_id for item_id in texts if item_id.endswith("_item"))
    wrong += [f"{item_id} is in the history, and nobody was told" for item_id in answers if item_id not in known]
    return wrong


def totals(seen: Sequence[Seen]) -> Mapping[str, int]:
    """Responses by how they ended, and errors by their reason."""
    counted: Counter[str] = Counter()
    for conversation in seen:
        for response in conversation.responses.values():
            counted[
                "lost with their session" if response.cut else str(response.outcome and response.outcome.value)
            ] += 1
        counted.update({f"error {reason}": count for reason, count in conversation.errors.items()})
    return dict(sorted(counted.items()))
