"""Contexts that a model has read already, found by the longest beginning that a new one shares with them. Pure."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Hit(Generic[T]):
    """What is kept of a context: its state, its tokens, and how many of them the new context begins with.

    `whole` says that the new context goes on from all of them: the state was taken out, and belongs to who asked.
    """

    state: T
    tokens: tuple[int, ...]
    shared: int

    @property
    def whole(self) -> bool:
        """Whether nothing of it needs to be cut off."""
        return self.shared == len(self.tokens)


@dataclass(frozen=True)
class _Entry(Generic[T]):
    state: T
    tokens: tuple[int, ...]
    size: int
    cuttable: bool


class PrefixCache(Generic[T]):
    """Keeps the states that fit into `limit` bytes; the least recently used go first.

    A turn's context begins with the one before it, and all conversations begin with the same instructions: so there is
    no key but the tokens themselves.

    Args:
        limit: bytes in all; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[int, _Entry[T]] = OrderedDict()
        self._serial = 0
        self.size = 0
        """Bytes kept."""

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, tokens: Sequence[int]) -> Hit[T] | None:
        """The state that saves most of reading `tokens`, never all of them: the last one must be read for its answer.

        A state that is continued whole is taken out; one that others may continue elsewhere stays, and is to be copied
        before it is cut.
        """
        wanted = tuple(tokens[:-1])
        best, most = None, 0
        for key, entry in self._entries.items():
            shared = _shared(entry.tokens, wanted)
            if shared > most and (entry.cuttable or shared == len(entry.tokens)):
                best, most = key, shared
        if best is None:
            return None
        entry = self._entries[best]
        self._entries.move_to_end(best)
        if most == len(entry.tokens):
            self._drop(best)
        return Hit(entry.state, entry.tokens, most)

    def keep(self, tokens: Sequence[int], state: T, size: int, *, cuttable: bool) -> None:
        """Keep the state after `tokens`, `size` bytes; `cuttable` says that it can go back to an earlier token."""
        known = tuple(tokens)
        if not known or size > self._limit:
            return
        covered = [key for key, old in self._entries.items() if cuttable and known[: len(old.tokens)] == old.tokens]
        for key in covered:
            self._drop(key)
        while self.size + size > self._limit:
            self._drop(next(iter(self._entries)))
        self._serial += 1
        self._entries[self._serial] = _Entry(state, known, size, cuttable)
        self.size += size

    def clear(self) -> None:
        """Keep nothing."""
        self._entries.clear()
        self.size = 0

    def _drop(self, key: int) -> None:
        self.size -= self._entries.pop(key).size


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that both begin with. By halves: a comparison of slices runs in C, one of tokens does not."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
