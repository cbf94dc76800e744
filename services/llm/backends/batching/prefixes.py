"""Which keys and values there are, of which tokens, and where in the pool they lie. Pure: no tensors.

Attention reads a sequence's keys and values as one piece, so each gets a piece of the pool of its own. When the
sequence is over the piece stays, until something newer needs the room.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

GRAIN = 64
"""Pieces are multiples of this many tokens, so that growing rarely means moving."""
TAIL = 16
"""Tokens of an earlier context that are given up when a new one goes on from it: it is the same conversation."""
SPARE = 64
"""Tokens that are given up, rather than copied, where a copy would cost another context its place."""
_CHUNK = 64


@dataclass(eq=False)
class Span:
    """A piece of the pool and the tokens whose keys and values it holds.

    Attributes:
        tokens: what has been computed, from position 0.
        start: its first place in the pool.
        capacity: its places.
        used: when it was used last, as a serial number.
        owner: the sequence that is growing it; None once that is over.
    """

    tokens: list[int]
    start: int
    capacity: int
    used: int = 0
    owner: object | None = None

    @property
    def end(self) -> int:
        """The place after its last."""
        return self.start + self.capacity


@dataclass(frozen=True)
class Copy:
    """Keys and values to be moved in the pool: `count` tokens from one place to another."""

    source: int
    target: int
    count: int


@dataclass
class Lease:
    """A span for a new sequence, the tokens that it has already, and what has to be copied first, in order."""

    span: Span
    reused: int
    copies: list[Copy] = field(default_factory=list)


class PrefixStore:
    """The spans of a pool of `capacity` tokens; those of nobody go when room is needed, least recently used first.

    With `keep` off they go at once.
    """

    def __init__(self, capacity: int, *, keep: bool = True) -> None:
        self.capacity = capacity
        self._keep = keep
        self._spans: list[Span] = []
        self._clock = itertools.count(1)
        self.evicted = 0
        """Spans given up for newer ones so far."""

    @property
    def held(self) -> int:
        """Tokens whose keys and values are there."""
        return sum(len(span.tokens) for span in self._spans)

    def longest(self, tokens: Sequence[int]) -> tuple[Span | None, int]:
        """The span that shares the longest beginning with `tokens`, and how long that is."""
        best, length = None, 0
        for span in self._spans:
            shared = shared_length(span.tokens, tokens)
            if shared > length or (shared == length and shared and best is not None and span.used > best.used):
                best, length = span, shared
        return best, length

    def acquire(self, tokens: Sequence[int], room: int, owner: object) -> Lease | None:
        """A span of at least `room` places that holds as much as there is of a context; None where there is no room.

        At least the last token is left to be computed, since what follows it is wanted.
        """
        source, shared = self.longest(tokens)
        shared = min(shared, len(tokens) - 1)
        if source is None or shared <= 0:
            source, shared = None, 0
        if source is not None and source.owner is None:
            given_up = len(source.tokens) - shared
            if given_up <= TAIL or (given_up <= SPARE and not self._has_free(room)):
                return self._take_over(source, shared, room, owner)
        copies: list[Copy] = []
        start = self._allocate(room, copies, keep=source)
        if start is not None:
            span = self._add(Span(list(tokens[:shared]), start, _grains(room), owner=owner))
            if source is not None:
                copies.append(Copy(source.start, start, shared))
            return Lease(span, shared, copies)
        if source is not None and source.owner is None:
            return self._take_over(source, shared, room, owner)
        return None

    def grow(self, span: Span, room: int) -> list[Copy] | None:
        """Give a span at least `room` places; what has to be copied for it, None where there is no room."""
        room = _grains(room)
        if room <= span.capacity:
            return []
        after = [other for other in self._spans if other.start >= span.end and other is not span]
        limit = min((other.start for other in after), default=self.capacity)
        if span.start + room <= limit:
            span.capacity = room
            return []
        copies: list[Copy] = []
        start = self._allocate(room, copies, keep=span)
        if start is not None:
            copies.append(Copy(span.start, start, len(span.tokens)))
            span.start, span.capacity = start, room
            return copies
        behind = [other for other in after if other.start < span.start + room]
        if span.start + room <= self.capacity and all(other.owner is None for other in behind):
            self._evict(behind)
            span.capacity = room
            return []
        return self._spread(span, room)

    def release(self, span: Span) -> None:
        """Its sequence is over; what it has computed stays for another."""
        span.owner = None
        span.used = next(self._clock)
        span.capacity = min(span.capacity, _grains(len(span.tokens)))
        if not span.tokens or not self._keep:
            self.drop(span)

    def drop(self, span: Span) -> None:
        """Forget a span."""
        if span in self._spans:
            self._spans.remove(span)

    def clear(self) -> None:
        """Forget all of them."""
        self._spans.clear()

    def _add(self, span: Span) -> Span:
        span.used = next(self._clock)
        self._spans.append(span)
        return span

    def _take_over(self, span: Span, shared: int, room: int, owner: object) -> Lease | None:
        """The span goes on as the new sequence's; what it holds beyond the shared beginning is given up."""
        kept, span.tokens, span.owner = span.tokens, span.tokens[:shared], owner
        copies = self.grow(span, room)
        if copies is None:
            span.tokens, span.owner = kept, None
            return None
        span.used = next(self._clock)
        return Lease(span, shared, copies)

    def _allocate(self, room: int, copies: list[Copy], keep: Span | None) -> int | None:
        """The start of a free piece; makes one by giving up the spans whose latest use is longest ago."""
        room = _grains(room)
        found = self._oldest_window(room, keep)
        if found is None and self._pack(room, copies, keep):
            found = self._oldest_window(room, keep)
        if found is None:
            return None
        start, inside = found
        self._evict(inside)
        return start

    def _has_free(self, room: int) -> bool:
        """Whether there is a piece of that many places which nothing has to leave."""
        found = self._oldest_window(_grains(room), None)
        return found is not None and not found[1]

    def _oldest_window(self, room: int, keep: Span | None) -> tuple[int, list[Span]] | None:
        """The piece of `room` places without spans in use whose most recently used span was used longest ago."""
        spans = sorted(self._spans, key=lambda span: span.start)
        best: tuple[int, int, list[Span]] | None = None
        for first in range(len(spans) + 1):
            start = spans[first - 1].end if first else 0
            end, inside, latest = start + room, [], 0
            if end > self.capacity:
                # What lies at the end of the pool may still do, from further left.
                break
            for span in spans[first:]:
                if span.start >= end:
                    break
                inside.append(span)
                latest = max(latest, span.used)
            if any(span.owner is not None or span is keep for span in inside):
                continue
            if best is None or latest < best[0]:
                best = (latest, start, inside)
        return None if best is None else (best[1], best[2])

    def _pack(self, room: int, copies: list[Copy], keep: Span | None) -> bool:
        """Move all spans together, those of nobody given up as far as needed; False where that cannot make the room."""
        fixed = sum(span.capacity for span in self._spans if span.owner is not None or span is keep)
        if fixed + room > self.capacity:
            return False
        idle = sorted(
            (span for span in self._spans if span.owner is None and span is not keep), key=lambda span: span.used
        )
        total = fixed + sum(span.capacity for span in idle)
        while total + room > self.capacity:
            total -= idle[0].capacity
            self._evict([idle.pop(0)])
        place = 0
        for span in sorted(self._spans, key=lambda span: span.start):
            if span.start != place:
                copies.append(Copy(span.start, place, len(span.tokens)))
                span.start = place
            place = span.end
        return True

    def _spread(self, span: Span, room: int) -> list[Copy] | None:
        """The last resort: only what is in use stays, moved so that the span has room; None where that does not do."""
        others = [other for other in self._spans if other.owner is not None and other is not span]
        if sum(other.capacity for other in others) + room > self.capacity:
            return None
        self._evict([other for other in self._spans if other.owner is None and other is not span])
        copies: list[Copy] = []
        place = 0
        ordered = sorted(self._spans, key=lambda other: other.start)
        for other in ordered:  # all to the left, the leftmost first, so that none is written over
            if other.start != place:
                copies.append(Copy(other.start, place, len(other.tokens)))
                other.start = place
            place = other.end
        more = room - span.capacity
        for other in reversed(ordered[ordered.index(span) + 1 :]):  # and those behind it to the right, the last first
            copies.append(Copy(other.start, other.start + more, len(other.tokens)))
            other.start += more
        span.capacity = room
        return copies

    def _evict(self, spans: Sequence[Span]) -> None:
        for span in spans:
            self._spans.remove(span)
            self.evicted += 1


def shared_length(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items two sequences begin with in common."""
    most, length = min(len(first), len(second)), 0
    while length < most and first[length : length + _CHUNK] == second[length : length + _CHUNK]:
        length += _CHUNK
    while length < most and first[length] == second[length]:
        length += 1
    return min(length, most)


def _grains(tokens: int) -> int:
    return -(-max(tokens, 1) // GRAIN) * GRAIN
