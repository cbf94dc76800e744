"""Which operations of a step take several processor threads. Imports torch."""

from collections.abc import Sequence
from types import TracebackType

import torch

from services.llm.backends.batching.helper import Helper
from services.llm.backends.batching.key_values import PoolShape, Row

_FEW_TOKENS = 256
_LINEAR_WORK = 160_000_000
"""Multiplications that take one thread a millisecond; reading the weights counts as `_READING` tokens."""
_READING = 4
_ATTENTION_WORK = 30_000_000
"""Multiplications in one call that take one thread half a millisecond; reading the keys and values counts as
`_READING_KEYS` tokens."""
_READING_KEYS = 8


class Meeting:
    """Lets all threads meet for what is worth it, in a step of few tokens on a processor.

    Threads that sleep until they are called (`OMP_WAIT_POLICY`) take about 60 µs to come together, more than most
    operations last, and many times that where others want the processor, as the speech services do. torch would call
    them for whatever has 32,768 elements: six hundred times in a step over the tokens of a question. So such a step
    runs on one thread, but for what stands in a `with` of `linear` or `attention`.
    """

    def __init__(self, device: str) -> None:
        self._on_processor = device == "cpu"
        self._threads = 1
        self._alone = False
        self._called = False
        self._helper: Helper | None = None

    @property
    def helper(self) -> Helper | None:
        """Who shares what is long, in a step that runs on one thread though it may have more."""
        if self._alone and self._helper is None:
            self._helper = Helper()
        return self._helper if self._alone else None

    def begin(self, tokens: int) -> None:
        """A step begins, over that many tokens; it may have as many threads as torch has now."""
        self._threads = torch.get_num_threads()
        self._alone = self._on_processor and self._threads > 1 and tokens <= _FEW_TOKENS
        if self._alone:
            torch.set_num_threads(1)

    def end(self) -> None:
        """The step is over: torch has its threads again."""
        if self._alone:
            torch.set_num_threads(self._threads)
            self._alone = False

    def linear(self, tokens: int, weights: int) -> "Meeting":
        """A layer of that many weights follows."""
        self._called = self._alone and (tokens + _READING) * weights >= _LINEAR_WORK
        return self

    def attention(self, rows: Sequence[Row], shape: PoolShape, heads: int) -> "Meeting":
        """Attention of the rows follows, by that many heads of queries; in bfloat16 the helper is called there."""
        # A prompt's goes head by head, in three calls each; the threads would meet for every one of them.
        most = max(
            (row.count + _READING_KEYS) * row.length / (1 if row.count == 1 else 3 * shape.heads) for row in rows
        )
        self._called = (
            self._alone and shape.dtype != torch.bfloat16 and most * heads * shape.head_size * 2 >= _ATTENTION_WORK
        )
        return self

    def __enter__(self) -> None:
        if self._called:
            torch.set_num_threads(self._threads)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._called:
            torch.set_num_threads(1)
