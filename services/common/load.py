"""Admission by load: how much fits is measured, not configured.

The utilization law (Denning and Buzen 1978): what is wanted of a processor is the work inside times what each piece of
it takes. So the most that may be inside is the share that may be wanted, divided by what a piece takes on average.
That says beforehand what one more session will do, where a limit that follows latency learns it from those inside.
Latency still has the last word: where the event loop is late all the same, since others have the processor, nothing
new is let in.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from services.common.errors import OverloadedError

INTERVAL_S = 0.1
LATE_S, LATE_SAMPLES = 0.03, 3
"""An event loop that was later than this so many times in a row is late, and not just busy with something."""
BUSY_SAMPLES = 5
"""Over so many samples it is told whether the thread is wanted too much."""
LEAST = 2
"""Pieces of work that are let in whatever they take."""
CALM_PER_S, LONGEST_S = 10.0, 30.0
"""Refusals cost time, too: from so many a second on, who is refused is told to stay away in proportion, for so long at
most.
"""
_GUESS, _GUESSED = 0.02, 1.0
"""What a piece of work takes before any was measured; it counts like the measurements of one piece for a second."""
_TINY = 1e-9
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


class Load:
    """Lets work in while the process has time for it.

    Args:
        max_share: of the time, that the event loop's thread may be wanted (0 to 1); 0 refuses nothing. What a model has
            time for is its service's own affair.
        settle_s: age in seconds at which a piece of work has shown what it takes; younger ones are not measured, but
            taken to cost what the others do. 0 is for work so short that it shows at once: while the thread is not
            wanted for more than `max_share`, any of it comes in, since a few calls at the same moment are no load.
        window_s: time in seconds over which what work takes is averaged.
        retry_after_s: least seconds that a refused client is told to wait; more while many are refused.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        max_share: float,
        *,
        settle_s: float = 0.0,
        window_s: float = 2.0,
        retry_after_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_share, self._settle_s, self._retry_after_s = max_share, settle_s, retry_after_s
        self._clock = clock
        self._keep = 1 - INTERVAL_S / window_s
        self._young: dict[int, float] = {}
        """When those came in that have not settled, oldest first."""
        self._serial = 0
        self._measured = _GUESSED / INTERVAL_S
        self._wanted = _GUESS * self._measured
        """Decayed sums over the samples: settled pieces of work, and the share of the time that the thread was wanted.
        """
        self._lags: deque[float] = deque([0.0] * LATE_SAMPLES, LATE_SAMPLES)
        self._shares: deque[float] = deque([0.0] * BUSY_SAMPLES, BUSY_SAMPLES)
        self._held_until = 0.0
        self._refused_per_s = 0.0
        self.inside = 0

    @property
    def limit(self) -> float:
        """How many pieces of work may be inside."""
        return max(LEAST, self._max_share * self._measured / max(self._wanted, _TINY))

    @property
    def late(self) -> bool:
        """Whether the event loop does not keep up."""
        return min(self._lags) > LATE_S

    @property
    def busy(self) -> bool:
        """Whether the thread is wanted for more of the time than it may be."""
        return sum(self._shares) > self._max_share * BUSY_SAMPLES

    def hold(self, seconds: float) -> None:
        """Let nothing in for so long: what it needs of others is not to be had."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    @property
    def _full(self) -> bool:
        if not self._max_share or self.inside < LEAST:
            return False
        over = self.inside + 1 > self.limit and (self._settle_s > 0 or self.busy)
        return over or self.late or self._clock() < self._held_until

    @contextlib.contextmanager
    def work(self, what: str) -> Iterator[None]:
        """A piece of work goes on inside the block.

        Raises:
            OverloadedError: at once, where it would be too much.
        """
        if self._full:
            self._refused_per_s += 1
            wait_s = self._retry_after_s * max(1.0, self._refused_per_s / CALM_PER_S)
            raise OverloadedError(f"too busy for more {what}", retry_after_s=spread(min(wait_s, LONGEST_S)))
        self._serial += 1
        serial = self._serial
        self._young[serial] = self._clock()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
            self._young.pop(serial, None)

    def sample(self, share: float, lag_s: float) -> None:
        """Take in a measurement: the share of the last interval that the thread was wanted, and the loop's lag."""
        self._refused_per_s *= 1 - INTERVAL_S
        self._lags.append(lag_s)
        self._shares.append(share)
        now = self._clock()
        while self._young and now - next(iter(self._young.values())) >= self._settle_s:
            del self._young[next(iter(self._young))]
        if settled := self.inside - len(self._young):
            of_young = len(self._young) * self._wanted / self._measured
            of_settled = max(share - of_young, share * settled / self.inside)
            self._measured = self._measured * self._keep + settled
            self._wanted = self._wanted * self._keep + of_settled

    async def watch(self) -> None:
        """Measure ten times a second, on the thread of the event loop. Ends by cancellation."""
        begun, wanted_s = self._clock(), _thread_wanted_s()
        while True:
            await asyncio.sleep(INTERVAL_S)
            now, wanted_now_s = self._clock(), _thread_wanted_s()
            self.sample((wanted_now_s - wanted_s) / (now - begun), now - begun - INTERVAL_S)
            begun, wanted_s = now, wanted_now_s


def spread(retry_after_s: float) -> float:
    """At least so long, and up to twice: who was refused together does not come back together."""
    return round(retry_after_s * random.uniform(1.0, 2.0), 3)


def _thread_wanted_s() -> float:
    """Seconds that this thread has had a processor, or waited for one; without the waiting where the system does not
    tell (Linux does: Documentation/scheduler/sched-stats.rst).
    """
    try:
        running_ns, waiting_ns, _ = _SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(running_ns) + int(waiting_ns)) / 1e9
