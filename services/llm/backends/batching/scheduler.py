"""Who is let in, and what the next step computes. Pure."""

import time
from collections import Counter
from collections.abc import Callable

from services.llm.backends.batching.pace import Pace
from services.llm.backends.batching.prefixes import Copy, PrefixStore, shared_length
from services.llm.backends.batching.sequence import Entered, Prefilled, Sequence

ANSWER_RESERVE = 256
"""Tokens of an answer that are reserved when a sequence is let in; a longer one asks for more when it gets there."""
SHORT_PROMPT = 256
"""New tokens up to which a prompt joins as if nobody else were at work: someone waits for its first word, while those
who hear an answer have speech to play. Longer ones leave the others more than half of their pace."""
_AGEING = 2000.0
"""Tokens by which a prompt counts as shorter for each second that it waits, so that long ones come through, too."""


class Scheduler:
    """Sequences that wait, and those at work.

    Args:
        store: where keys and values lie.
        pace: sizes the slices of prompts.
        max_batch: sequences at work at a time.
        max_tokens: tokens in flight at most: contexts, and the part of their answers that is reserved.
    """

    def __init__(
        self,
        store: PrefixStore,
        pace: Pace,
        max_batch: int,
        max_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._pace = pace
        self._max_batch = max_batch
        self._max_tokens = min(max_tokens, store.capacity)
        self._clock = clock
        self.waiting: list[Sequence] = []
        self.active: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        """A newcomer."""
        self.waiting.append(sequence)

    def drop_cancelled(self) -> None:
        """Let go of whoever nobody waits for any more; what they have computed stays for others."""
        self.waiting = [sequence for sequence in self.waiting if not sequence.cancelled]
        for sequence in [sequence for sequence in self.active if sequence.cancelled]:
            self.leave(sequence)

    def leave(self, sequence: Sequence) -> None:
        """A sequence is over."""
        self.active.remove(sequence)
        if sequence.span is not None:
            self._store.release(sequence.span)
            sequence.span = None

    def admit(self) -> list[Copy]:
        """Let in whom there is room for; what has to be copied in the pool before the next step."""
        copies: list[Copy] = []
        while self.waiting and len(self.active) < self._max_batch:
            sequence = min(self.waiting, key=self._turn)
            room = self._reserve(sequence)
            if self.active and self.in_flight + room > self._max_tokens:
                break
            self._relieve(sequence)
            lease = self._store.acquire(sequence.tokens, min(room, self._store.capacity), sequence)
            if lease is None:
                break
            copies += lease.copies
            sequence.span = lease.span
            sequence.short = sequence.pending <= SHORT_PROMPT and not sequence.only_prefill
            self.waiting.remove(sequence)
            self.active.append(sequence)
            if not sequence.entered:
                sequence.entered = True
                sequence.sink.put(Entered(self._clock() - sequence.arrived, lease.reused))
        return copies

    @property
    def in_flight(self) -> int:
        """Tokens that those at work have, or may come to have soon."""
        return sum(self._reserve(sequence) for sequence in self.active)

    def plan(self) -> list[tuple[Sequence, int]]:
        """What the next step computes: sequences, those that decode first, and how many of their pending tokens."""
        decoding = [sequence for sequence in self.active if sequence.decoding]
        steps = [(sequence, 1) for sequence in decoding]
        taken = 0
        for sequence in sorted((s for s in self.active if not s.decoding), key=self._turn):
            rows = 0 if sequence.short else len(decoding)
            count = min(sequence.pending, self._pace.budget(rows) - taken)
            if count > 0:
                steps.append((sequence, count))
                taken += count
        return steps

    def make_room(self, sequence: Sequence, count: int) -> list[Copy] | None:
        """Places for the next tokens; the youngest at work steps back where there are none.

        Returns:
            What has to be copied; None where the sequence has stepped back itself, or is alone and there is no room:
            then it is still at work.
        """
        span = sequence.span
        assert span is not None, "only those at work grow"
        need = len(span.tokens) + count
        while need > span.capacity:
            copies = self._store.grow(span, need + ANSWER_RESERVE)
            copies = self._store.grow(span, need) if copies is None else copies
            if copies is not None:
                return copies
            if len(self.active) == 1:
                return None
            youngest = max(self.active, key=lambda other: (other.only_prefill, other.arrived))
            self._step_back(youngest)
            if youngest is sequence:
                return None
        return []

    def _step_back(self, sequence: Sequence) -> None:
        """Give the room of a sequence away; it waits, and computes again what is lost of it by then."""
        self.leave(sequence)
        if not sequence.only_prefill:
            self.waiting.append(sequence)
        else:
            sequence.sink.put(Prefilled(0))

    def _relieve(self, sequence: Sequence) -> None:
        """A context that is being made ready for this very sequence is ready enough: it goes on from there."""
        for other in [other for other in self.active if other.only_prefill]:
            shared = shared_length(other.tokens, sequence.tokens)
            if other.span is not None and shared >= len(other.tokens) - 16:
                done = len(other.span.tokens)
                self.leave(other)
                other.sink.put(Prefilled(done))

    def _reserve(self, sequence: Sequence) -> int:
        return len(sequence.tokens) + min(ANSWER_RESERVE, max(0, sequence.limit - sequence.generated)) + 1

    def _turn(self, sequence: Sequence) -> tuple[bool, int, float]:
        """Answers before preparations, sessions with little at work before others, short prompts before long ones."""
        mine = Counter(other.session for other in self.active if other.session and other is not sequence)
        age = self._clock() - sequence.arrived
        return sequence.only_prefill, mine[sequence.session], sequence.pending - age * _AGEING
