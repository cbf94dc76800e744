"""Whether an engine that speaks one piece at a time can keep up with one listener more: by what it was measured to do.

A listener hears a second of audio a second. With each of them so many seconds of audio ahead, and so many still to be
made, the engine keeps up if by no moment it owes more work than there was time for it (earliest deadline first is
feasible then: C. L. Liu and J. W. Layland, "Scheduling algorithms for multiprogramming in a hard-real-time
environment", Journal of the ACM 20(1), 1973).
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

from services.common.errors import OverloadedError

LEAD_S = 1.5
"""Of a text that follows on other speech: what was said before it is still being heard for about so long."""
_MEMORY_S = 60.0
"""Audio after which a measurement counts half as much as a new one."""


class Speech:
    """One request at work: what was made of it, and when its listener runs out of audio.

    Args:
        audio_s: how much it is going to be, as far as one knows.
        due_at: when the first of it should be there, by `clock`.
    """

    def __init__(self, audio_s: float, due_at: float, clock: Callable[[], float]) -> None:
        self.left_s = audio_s
        self._due_at = due_at
        self._clock = clock
        self._begun = False

    @property
    def due_at(self) -> float:
        """When the next piece should be there: the order in which pieces are spoken, so that nobody starves."""
        return self._due_at

    def made(self, audio_s: float, left_s: float) -> None:
        """A piece is there, so much of it; the listener hears the first one from now on."""
        if not self._begun:
            self._begun = True
            self._due_at = self._clock()
        self._due_at += audio_s
        self.left_s = left_s


class Workload:
    """The requests that an engine is at, and how fast it was measured to speak.

    Args:
        max_delay_s: how late anybody's audio may come before new listeners are refused.
        clock: seconds, monotonic.
    """

    def __init__(self, max_delay_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_delay_s = max_delay_s
        self._clock = clock
        self._speeches: list[Speech] = []
        self._work_s = self._audio_s = self._characters = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio; 0 before anything was measured."""
        return self._work_s / self._audio_s if self._audio_s else 0.0

    def learn(self, work_s: float, audio_s: float, characters: int) -> None:
        """So much audio of so many characters took so long."""
        kept = 0.5 ** (audio_s / _MEMORY_S)
        self._work_s = self._work_s * kept + work_s
        self._audio_s = self._audio_s * kept + audio_s
        self._characters = self._characters * kept + characters

    def audio_of(self, characters: int, speaking_rate: float) -> float:
        """Seconds of audio that a text of so many characters is going to be."""
        return characters * self._audio_s / self._characters / speaking_rate if self._characters else 0.0

    def check(self, audio_s: float) -> None:
        """Refuse a new listener, of so much audio, with whom somebody's audio would come too late.

        Who would be alone is always served.

        Raises:
            OverloadedError: telling when to try again.
        """
        if not self._speeches:
            return
        now = self._clock()
        listeners = [(speech.due_at - now, speech.left_s) for speech in self._speeches]
        late_s = lateness_s([*listeners, (0.0, audio_s)], self.real_time_factor) - self._max_delay_s
        if late_s > 0:
            raise OverloadedError("too many voices at once", retry_after_s=max(1.0, math.ceil(late_s)))

    @contextlib.contextmanager
    def speech(self, audio_s: float, *, follows: bool) -> Iterator[Speech]:
        """A request at work, until the block is left; one that `follows` on other speech is not needed at once."""
        speech = Speech(audio_s, self._clock() + (LEAD_S if follows else 0.0), self._clock)
        self._speeches.append(speech)
        try:
            yield speech
        finally:
            self._speeches.remove(speech)


def lateness_s(listeners: list[tuple[float, float]], real_time_factor: float) -> float:
    """How late the work is at worst; 0 or less where nobody runs out of audio.

    Args:
        listeners: for each, seconds of audio ahead (below 0 where it has run out), and seconds still to be made.
    """
    ends = [ahead_s + left_s for ahead_s, left_s in listeners]
    return max(
        real_time_factor * sum(min(max(end - ahead_s, 0.0), left_s) for ahead_s, left_s in listeners) - max(end, 0.0)
        for end in ends
    )
