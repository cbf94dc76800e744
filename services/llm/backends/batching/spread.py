"""How a step is spread over processor threads: by parts of it, or by each of its operations. Imports torch."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from services.llm.backends.batching.key_values import KeyValues, Row
from services.llm.backends.batching.packed import PackedModel, Step
from services.llm.backends.batching.threads import meeting

log = logging.getLogger(__name__)

_TRIED = (1, 8, 64)
"""Tokens of the steps that are timed: one that decodes, eight, and a question."""
_STEPS = 5
_CLOSE = 1.15
"""Parts are taken up to this much slower: a machine that does nothing else is the best case of threads that meet."""
_LARGE_S = 0.5
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
                self._apart[count] = self._faster_apart(model, pool, count)
        log.info("steps in parts", extra={"tokens": [count for count, apart in self._apart.items() if apart]})

    def _faster_apart(self, model: PackedModel, pool: KeyValues, tokens: int) -> bool:
        """For steps that decode in as many sequences, or for a prompt of so many tokens."""
        numbers = torch.arange(tokens)
        single = tokens < _TRIED[-1]
        rows = [Row(index, 1, index, 1) for index in range(tokens)] if single else [Row(0, tokens, 0, tokens)]
        step = Step(torch.zeros_like(numbers), numbers, numbers, rows, numbers if single else numbers[-1:])

        def seconds(*, apart: bool) -> float:
            begun = time.perf_counter()
            with self._threads_for(apart=apart) as workers:
                model.forward(step, pool, workers)
            return time.perf_counter() - begun

        seconds(apart=False)  # the first one prepares what the others find
        if seconds(apart=False) > _LARGE_S:
            return False
        seconds(apart=True)
        # In turn, and the fastest of each: for moments the processor is another's.
        times = [(seconds(apart=False), seconds(apart=True)) for _ in range(_STEPS)]
        return min(apart for _, apart in times) < _CLOSE * min(met for met, _ in times)

    def workers(self, tokens: int) -> AbstractContextManager[int]:
        """For a step of that many tokens: among how many threads it is divided, each with a part; 1: threads meet."""
        return self._threads_for(apart=self._apart[max(count for count in _TRIED if count <= tokens)])

    @contextmanager
    def _threads_for(self, *, apart: bool) -> Iterator[int]:
        with meeting(1 if apart else self._threads):
            yield self._threads if apart else 1
