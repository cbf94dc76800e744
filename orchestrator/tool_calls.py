"""The function calls of a session and where their outputs belong. Pure.

A call is *made* by the response that is running; when that has ended, it is *pending* if the history keeps it, or
*void* if the user cut the response off. A pending call whose output does not come before the user wants something
else is *late*: the model is told that there is no result yet, and of the result once it comes.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

_KEPT_VOID = 64


class Route(Enum):
    """What to do with an output."""

    NOW = "into the history"
    AFTER_RESPONSE = "into the history once the response that called has ended"
    LATE = "into the history, as news"
    VOID = "nowhere: the call was taken back"
    UNKNOWN = "for the history to judge"


@dataclass
class ToolCalls:
    """See the module."""

    _made: dict[str, bool] = field(default_factory=dict)
    """Calls of the response that is running, and whether their output is there."""
    _pending: dict[str, None] = field(default_factory=dict)
    _late: set[str] = field(default_factory=set)
    _void: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_VOID))

    @property
    def pending(self) -> tuple[str, ...]:
        """Calls in the history that have no output."""
        return tuple(self._pending)

    @property
    def all_answered(self) -> bool:
        """Whether the response that is running has made calls, and all outputs are there."""
        return bool(self._made) and all(self._made.values())

    def made(self, call_id: str) -> None:
        """The response that is running has made a call."""
        self._made.setdefault(call_id, False)

    def output(self, call_id: str) -> Route:
        """An output has come."""
        if call_id in self._made:
            self._made[call_id] = True
            return Route.AFTER_RESPONSE
        if call_id in self._late:
            self._late.discard(call_id)
            return Route.LATE
        if call_id in self._void:
            return Route.VOID
        if call_id in self._pending:
            del self._pending[call_id]
            return Route.NOW
        return Route.UNKNOWN

    def deleted(self, call_id: str) -> None:
        """The history has a call no more; its output is not waited for, and goes nowhere."""
        if call_id in self._pending or call_id in self._late:
            self._pending.pop(call_id, None)
            self._late.discard(call_id)
            self._void.append(call_id)

    def restored(self, call_ids: tuple[str, ...]) -> None:
        """Calls that an earlier session has left pending."""
        self._pending.update(dict.fromkeys(call_ids))

    def response_ended(self, kept: frozenset[str]) -> bool:
        """The response that is running has ended and the history keeps these of its calls; whether there are any, and
        all outputs are there.
        """
        made, self._made = self._made, {}
        self._void.extend(call_id for call_id in made if call_id not in kept)
        self._pending.update({call_id: None for call_id in kept if not made.get(call_id)})
        return bool(kept) and not self._pending

    def give_up(self) -> tuple[str, ...]:
        """The user does not wait for the outputs any more; returns the calls that get none now."""
        waiting = self.pending
        self._late.update(waiting)
        self._pending.clear()
        return waiting
