"""The thread that runs a model for all sequences at once. Imports torch."""

import logging
import queue
import threading
import time
from collections.abc import Callable

import torch

from services.common.errors import ContextLengthError, ParleyError, ServerDrainingError, UpstreamError
from services.llm.backends.batching.key_values import KeyValues, Row
from services.llm.backends.batching.memory import give_back_memory
from services.llm.backends.batching.pace import Pace
from services.llm.backends.batching.packed import PackedModel, Step
from services.llm.backends.batching.prefixes import PrefixStore
from services.llm.backends.batching.sampling import choose
from services.llm.backends.batching.scheduler import Scheduler
from services.llm.backends.batching.sequence import Failed, Prefilled, Sequence, Token
from services.llm.backends.batching.spread import Spread

log = logging.getLogger(__name__)

_TIDY_S = 0.2
"""Seconds between two times that free memory is given back. Steps take pieces of ever other sizes, and what is left
between them would be an ever larger part of what the process holds."""


class Engine:
    """Lets sequences join and leave at every step; one forward pass serves all that are in it.

    `submit` and `Sequence.cancelled` may be used from any thread; events come on the engine's own. A step that fails
    ends the sequences that were in it, with an error; the engine goes on.

    Args:
        model: what computes.
        capacity: tokens of the pool of keys and values.
        max_batch: sequences at work at a time.
        max_tokens: tokens in flight at a time, at most `capacity`.
        threads: processor threads for a step.
        keep: whether what is over stays for those that begin with it.
        flush: called on the engine's thread when a step's events have been handed over.
    """

    def __init__(
        self,
        model: PackedModel,
        capacity: int,
        max_batch: int,
        max_tokens: int,
        threads: int = 1,
        keep: bool = True,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._pool = KeyValues(model.shape, capacity, model.device)
        self._store = PrefixStore(capacity, keep=keep)
        self._pace = Pace()
        self._scheduler = Scheduler(self._store, self._pace, max_batch, max_tokens)
        self._spread = Spread(threads)
        self._flush = flush
        self._inbox: queue.SimpleQueue[Sequence | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._tidied = time.monotonic()
        self._thread = threading.Thread(target=self._main, name="llm-engine", daemon=True)

    @property
    def capacity(self) -> int:
        """Tokens whose keys and values have room."""
        return self._pool.capacity

    @property
    def cached_tokens(self) -> int:
        """Tokens whose keys and values are there."""
        return self._store.held

    @property
    def working(self) -> int:
        """Sequences that have a place or wait for one."""
        return len(self._scheduler.active) + len(self._scheduler.waiting) + self._inbox.qsize()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Hand a sequence over; its sink gets events until one that is the last.

        Raises:
            ServerDrainingError: the engine has been closed.
        """
        with self._lock:
            if self._closed:
                raise ServerDrainingError("the server is shutting down", retry_after_s=1.0)
            self._inbox.put(sequence)

    def wake(self) -> None:
        """Look at what has been cancelled, also while there is nothing to do."""
        self._inbox.put(None)

    def close(self) -> None:
        """Stop after the step in progress; whoever still waits gets a ServerDrainingError. Blocks; twice is as once."""
        with self._lock:
            self._closed = True
            self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def _main(self) -> None:
        with torch.inference_mode():
            self._spread.learn(self._model, self._pool)
            while not self._closed:
                try:
                    self._turn()
                except Exception as error:
                    log.exception("a step of the language model failed")
                    self._fail_all(error)
                self._flush()
                self._tidy()
            self._take_in(block=False)
            self._end(ServerDrainingError("the server is shutting down", retry_after_s=1.0))
            self._flush()

    def _turn(self) -> None:
        """One step, or a wait for something to do."""
        scheduler = self._scheduler
        self._take_in(block=not scheduler.active)
        scheduler.drop_cancelled()
        self._pool.copy(scheduler.admit())
        planned = scheduler.plan()
        rows = [(sequence, count) for sequence, count in planned if self._has_room(sequence, count)]
        # One that came later in the list may have stepped back for an earlier one, or the other way round.
        rows = [(sequence, count) for sequence, count in rows if sequence.span is not None]
        if rows:
            self._step(rows)

    def _take_in(self, *, block: bool) -> None:
        try:
            if block and not self._scheduler.waiting:
                self._add(self._inbox.get())
            while True:
                self._add(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _add(self, sequence: Sequence | None) -> None:
        if sequence is None:
            return
        if len(sequence.tokens) >= self.capacity:
            message = f"the context has {len(sequence.tokens)} tokens, the server has room for {self.capacity}"
            sequence.sink.put(Failed(ContextLengthError(message, field="messages")))
            return
        self._scheduler.add(sequence)

    def _has_room(self, sequence: Sequence, count: int) -> bool:
        if sequence.span is None:
            return False
        copies = self._scheduler.make_room(sequence, count)
        if copies is not None:
            self._pool.copy(copies)
            return True
        if sequence.span is not None:
            self._fail(sequence, ContextLengthError("the answer has outgrown the server's room", field="messages"))
        return False

    def _step(self, planned: list[tuple[Sequence, int]]) -> None:
        """One forward pass, and a token for each sequence that has reached the end of what is known of it."""
        planned.sort(key=lambda item: item[1] > 1)
        begun = time.perf_counter()
        decoding = sum(sequence.decoding for sequence, _ in planned)
        prompt_tokens = sum(count for sequence, count in planned if not sequence.decoding)
        step, ready = self._packed(planned)
        try:
            with self._spread.workers(len(step.tokens)) as workers:
                logits = self._model.forward(step, self._pool, workers)
            choices = (
                []
                if logits is None
                else choose(logits, [sequence.sampler for sequence in ready], [sequence.tokens for sequence in ready])
            )
        except Exception as error:
            log.exception("a step of the language model failed")
            for sequence, _ in planned:
                # What it wrote before it failed is not to be trusted.
                self._scheduler.active.remove(sequence)
                if sequence.span is not None:
                    self._store.drop(sequence.span)
                sequence.sink.put(Failed(_told(error)))
            return
        for sequence, count in planned:
            assert sequence.span is not None, "those without room are left out"
            done = len(sequence.span.tokens)
            sequence.span.tokens += sequence.tokens[done : done + count]
        for sequence, choice in zip(ready, choices, strict=True):
            if isinstance(choice, Exception):
                log.warning("choosing a token failed", exc_info=choice)
                self._fail(sequence, _told(choice))
            else:
                self._advance(sequence, choice)
        for sequence, _ in planned:
            if sequence.only_prefill and not sequence.pending:
                self._scheduler.leave(sequence)
                sequence.sink.put(Prefilled(len(sequence.tokens)))
        self._pace.saw(decoding, prompt_tokens, time.perf_counter() - begun)

    def _packed(self, planned: list[tuple[Sequence, int]]) -> tuple[Step, list[Sequence]]:
        """The tensors of a step, and the sequences whose next token it gives."""
        tokens: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        rows: list[Row] = []
        wanted: list[int] = []
        ready: list[Sequence] = []
        for sequence, count in planned:
            span = sequence.span
            assert span is not None, "those without room are left out"
            done = len(span.tokens)
            rows.append(Row(len(tokens), count, span.start, done + count))
            tokens += sequence.tokens[done : done + count]
            positions += range(done, done + count)
            places += range(span.start + done, span.start + done + count)
            if done + count == len(sequence.tokens) and not sequence.only_prefill:
                wanted.append(len(tokens) - 1)
                ready.append(sequence)
        # One transfer to the device for all of it.
        numbers = torch.tensor([tokens, positions, places]).to(self._model.device, non_blocking=True)
        after = torch.tensor(wanted, dtype=torch.int64).to(self._model.device, non_blocking=True)
        return Step(numbers[0], numbers[1], numbers[2], rows, after), ready

    def _advance(self, sequence: Sequence, token: int) -> None:
        sequence.tokens.append(token)
        last = token in sequence.ends or sequence.generated >= sequence.limit
        if last:
            self._scheduler.leave(sequence)
        sequence.sink.put(Token(token, last))

    def _fail(self, sequence: Sequence, error: BaseException) -> None:
        self._scheduler.leave(sequence)
        sequence.sink.put(Failed(error))

    def _fail_all(self, error: Exception) -> None:
        """The books may be wrong: everybody goes, and the pool is empty."""
        self._end(_told(error))
        self._store.clear()

    def _end(self, error: BaseException) -> None:
        for sequence in [*self._scheduler.active, *self._scheduler.waiting]:
            sequence.sink.put(Failed(error))
            sequence.span = None
        self._scheduler.active.clear()
        self._scheduler.waiting.clear()

    def _tidy(self) -> None:
        """Give free memory back, now and then; between two steps, when a step's events are on their way."""
        now = time.monotonic()
        if now - self._tidied >= _TIDY_S:
            self._tidied = now
            give_back_memory()


def _told(error: BaseException) -> BaseException:
    """What a client may hear of an error."""
    return error if isinstance(error, ParleyError) else UpstreamError("the language model failed")
