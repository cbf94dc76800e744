"""The base of what reads an API's answers. Pure: JSON in, domain events out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from services.llm.backends.api import failures
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import BackendEvent, InvalidToolCall, ReasoningDelta, TextDelta, ToolCallEvent, Usage


class AnswerReader(ABC):
    """Reads one answer, streamed or whole; the last event that it gives is `Finished`."""

    def __init__(self, ids: ToolIds) -> None:
        self._ids = ids
        self.ended = False
        """Whether `Finished` was given: what may still come is not of interest."""
        self.complete = False
        """Whether the answer is whole, and only the count of its tokens may follow."""
        self.pieces = 0
        """Pieces of tool calls so far: tokens, though nothing can be told of them yet."""

    def feed(self, event: Mapping[str, Any]) -> list[BackendEvent]:
        """What one event of the stream gives.

        Raises:
            ProviderFailure: it says that the answer has failed, or is not what the API's are.
        """
        return _checked(self._feed, event)

    def whole(self, answer: Mapping[str, Any]) -> list[BackendEvent]:
        """What an answer in one piece gives.

        Raises:
            ProviderFailure: it is none, or has failed.
        """
        return _checked(self._whole, answer)

    @abstractmethod
    def _feed(self, event: Mapping[str, Any]) -> list[BackendEvent]:
        """`feed`, which may take every field for what the API says it is."""

    @abstractmethod
    def _whole(self, answer: Mapping[str, Any]) -> list[BackendEvent]:
        """`whole`, likewise."""

    @abstractmethod
    def end(self) -> list[BackendEvent]:
        """What remains where the stream has ended and nothing said so.

        Raises:
            ProviderFailure: the answer is not whole.
        """


def _checked(read: Callable[[Mapping[str, Any]], list[BackendEvent]], value: Mapping[str, Any]) -> list[BackendEvent]:
    """What a reader makes of JSON in which any field may be of any kind."""
    try:
        events = read(value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise failures.unreadable(f"not the API's JSON ({type(error).__name__})") from None
    for event in events:
        if not all(isinstance(text, str) for text in _texts(event)):
            raise failures.unreadable("a text that is none")
    return events


def _texts(event: BackendEvent) -> tuple[object, ...]:
    if isinstance(event, TextDelta | ReasoningDelta):
        return (event.text,)
    if isinstance(event, ToolCallEvent):
        return (event.call.id, event.call.name)
    return (event.id, event.name) if isinstance(event, InvalidToolCall) else ()


def read_usage(usage: object, names: tuple[str, str]) -> Usage | None:
    """Counts of tokens; None where they are absent or make no sense.

    Args:
        usage: the object under "usage".
        names: what the API calls what goes in and what comes out: "prompt" and "completion", "input" and "output".
    """
    if not isinstance(usage, Mapping):
        return None
    asked, answered = names
    taken, given = _count(usage, f"{asked}_tokens"), _count(usage, f"{answered}_tokens")
    if taken is None or given is None:
        return None
    cached = _count(usage.get(f"{asked}_tokens_details"), "cached_tokens")
    thought = _count(usage.get(f"{answered}_tokens_details"), "reasoning_tokens")
    return Usage(taken, given, cached, thought)


def _count(counts: object, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32 else None
