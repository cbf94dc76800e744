"""How a step is spread over processor threads: by parts of it, or by each of its operations. Imports torch."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from services.llm.backends.batching.key_values import KeyValues, Row
from services.llm.backends.batching.packed import PackedModel, Step

log = logging.getLogger(__name__)

_TRIED = (1, 8, 64)
"""Tokens of the steps that are timed: one that decodes, eight, and a question."""
_STEPS = 3
_LARGE_S = 0.2
"""A step that takes longer has operations long enough for threads to meet: no need to try the other way."""


class Spread:
    """Times a model's steps, and remembers which way was faster for how many tokens.

    Threads that sleep until they are called (`OMP_WAIT_POLICY`) take about 60 µs to come together, more than most
    operations of a small model last, and many times that where others want the processor. Parts of a step
    meet once, or once a layer; but each reads all weights, which takes longer the larger the model.

    Args:
        threads: that a step may take.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._apart = dict.fromkeys(_TRIED, True)

    def learn(self, model: PackedModel, pool: KeyValues) -> None:
        """Take the time of a few steps; the pool is empty yet."""
        if model.device != "cpu":
            self._threads = 1
        if self._threads == 1:
            return
        for count in _TRIED:
            if count <= pool.capacity:
                together = self._seconds(model, pool, count, apart=False)
                self._apart[count] = together < _LARGE_S and self._seconds(model, pool, count, apart=True) < together
        log.info("steps in parts", extra={"tokens": [count for count, apart in self._apart.items() if apart]})

    @contextmanager
    def workers(self, tokens: int) -> Iterator[int]:
        """For a step of that many tokens: among how many threads it is divided, each with a part; 1: threads meet."""
        apart = self._apart[max(count for count in _TRIED if count <= tokens)]
        with _threads(1 if apart else self._threads):
            yield self._threads if apart else 1

    def _seconds(self, model: PackedModel, pool: KeyValues, tokens: int, *, apart: bool) -> float:
        """The fastest of a few steps: one that decodes in as many sequences, or a prompt of so many tokens."""
        numbers = torch.arange(tokens)
        single = tokens < _TRIED[-1]
        rows = [Row(index, 1, index, 1) for index in range(tokens)] if single else [Row(0, tokens, 0, tokens)]
        step = Step(torch.zeros_like(numbers), numbers, numbers, rows, numbers if single else numbers[-1:])
        seconds = []
        for _ in range(_STEPS):
            begun = time.perf_counter()
            with _threads(1 if apart else self._threads):
                model.forward(step, pool, self._threads if apart else 1)
            seconds.append(time.perf_counter() - begun)
            if seconds[-1] > _LARGE_S:
                break
        return min(seconds)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """What torch uses within an operation, on this thread."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)
