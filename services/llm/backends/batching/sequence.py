"""A sequence on its way through the engine, and what it tells whoever waits for it. Plain data."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from services.llm.backends.batching.prefixes import Span


@dataclass(frozen=True, slots=True)
class Entered:
    """The sequence has a place.

    Attributes:
        waited_s: seconds that it waited for it.
        reused: tokens of its context whose keys and values were there already.
    """

    waited_s: float
    reused: int


@dataclass(frozen=True, slots=True)
class Token:
    """The next token; `last` where an end token or the limit ends the sequence with it."""

    id: int
    last: bool = False


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A sequence that was only to be made ready is over; tokens that are there now."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The sequence is over."""

    error: BaseException


SequenceEvent: TypeAlias = Entered | Token | Prefilled | Failed


class Sink(Protocol):
    """Where a sequence's events go; called on the engine's thread."""

    def put(self, event: SequenceEvent) -> None:
        """Take an event."""


@dataclass(eq=False)
class Sequence:
    """Tokens of a context, and of its answer as they come.

    Attributes:
        tokens: the context; the answer is appended.
        limit: tokens of the answer at most; 0: the context is only made ready.
        ends: tokens that end the answer.
        sampler: how a token is chosen; the engine hands it on.
        session: whose it is; sequences of one session let those of others go first.
        short: whether somebody waits for its first token, and its prompt had so little to compute when it got its place
            that it need not be sliced.
        cancelled: set by any thread; the engine lets go of the sequence before its next step.
    """

    tokens: list[int]
    limit: int
    ends: frozenset[int]
    sampler: Any
    sink: Sink
    session: str = ""
    arrived: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    span: Span | None = None
    prompt_length: int = 0
    entered: bool = False
    short: bool = False

    def __post_init__(self) -> None:
        self.prompt_length = len(self.tokens)

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def pending(self) -> int:
        """Tokens that have no keys and values yet."""
        return len(self.tokens) - (len(self.span.tokens) if self.span else 0)

    @property
    def decoding(self) -> bool:
        """Whether its next step is for one more token of the answer."""
        return self.generated > 0 and self.pending == 1

    @property
    def only_prefill(self) -> bool:
        """Whether nobody waits for an answer."""
        return self.limit == 0
