"""What a load run does, before anything is sent. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LoadPlan:
    """What is asked of the callers.

    Attributes:
        sessions: callers; each holds one live session.
        turns: how often each says the recording.
        ramp_s: seconds over which the callers begin, evenly.
        barge_in: share (0 to 1) of the answers that are interrupted by saying the recording again. A session's last
            answer is never among them.
        barge_in_after_s: seconds of an answer that are heard before it is interrupted.
        pause_s: seconds that a caller thinks between an answer and what they say next.
        patience_s: seconds without any event after which a caller who waits for an answer hangs up.
    """

    sessions: int
    turns: int = 3
    ramp_s: float = 10.0
    barge_in: float = 0.0
    barge_in_after_s: float = 1.0
    pause_s: float = 1.0
    patience_s: float = 30.0

    def begins_s(self, session: int) -> float:
        """Seconds into the run at which caller number `session` (from 0) calls."""
        return self.ramp_s * session / self.sessions

    def interrupted(self, session: int) -> frozenset[int]:
        """Which answers of caller number `session` are interrupted, by the number of their turn (from 0).

        The share is kept exactly and evenly over all callers, and the same plan always chooses the same answers.
        """
        answers = self.turns - 1
        numbered = ((turn, session * answers + turn) for turn in range(answers))
        return frozenset(
            turn
            for turn, number in numbered
            if math.floor((number + 1) * self.barge_in) > math.floor(number * self.barge_in)
        )
