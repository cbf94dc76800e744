"""How long steps take, and so how much of a prompt may join one. Pure."""

_WEIGHT = 0.4
_BELIEVED = 4.0
"""Times what is known that a step may take and be believed: one that takes longer was held up (a machine that sleeps, a
container that is paused), and slices measured by it would be as long."""
_SHARE = 0.4
"""Of the time of steps that only decode, what prompts may add: streams keep more than half of the pace that they had,
also while their own contexts grow."""
_SLICE_S = 0.06
"""What a slice may add to a step at least. Joining costs something however short the slice is; it is made up for by
steps that only decode."""
_LEAST_SLICE = 16
_LEAST_ALONE = 64
_FIRST_GUESS_S = 0.0005
_MOST_DEBT_S = 0.5


class Pace:
    """Learns what a step costs, and what each token of a prompt adds to it, in seconds.

    Args:
        slice_s: seconds that a step of prompts alone may take: so long a newcomer, or a cancellation, waits.
        most: tokens of prompts in a step at most.
    """

    def __init__(self, slice_s: float = 0.08, most: int = 2048) -> None:
        self._slice_s = slice_s
        self._most = most
        self._rows: dict[int, float] = {}
        self._token_s = _FIRST_GUESS_S
        self._debt_s = 0.0
        """What prompts have taken from those that decode, beyond their share."""

    def saw(self, rows: int, prompt_tokens: int, seconds: float) -> None:
        """Note a step: how many sequences decoded in it, how many tokens of prompts were with them."""
        added = 0.0
        if not prompt_tokens:
            known = self._rows.get(rows)
            self._rows[rows] = seconds if known is None else _towards(known, seconds)
        else:
            added = max(seconds - self.step_s(rows), seconds * 0.1)
            if prompt_tokens >= _LEAST_SLICE:
                self._token_s = _towards(self._token_s, added / prompt_tokens)
        debt = self._debt_s + added - _SHARE * self.step_s(rows) if rows else 0.0
        self._debt_s = min(max(debt, 0.0), _MOST_DEBT_S)

    def step_s(self, rows: int) -> float:
        """Seconds of a step that only decodes; from the nearest number of rows that has been seen."""
        if rows in self._rows or not self._rows:
            return self._rows.get(rows, self._slice_s / 4)
        return self._rows[min(self._rows, key=lambda seen: abs(seen - rows))]

    def budget(self, rows: int) -> int:
        """Tokens of prompts that may join the next step; 0 where those that decode have to catch up first."""
        if not rows:
            return max(_LEAST_ALONE, min(self._most, int((self._slice_s - self.step_s(1)) / self._token_s)))
        if self._debt_s:
            return 0
        return max(_LEAST_SLICE, min(self._most, int(max(_SLICE_S, self.step_s(rows) * _SHARE) / self._token_s)))


def _towards(known: float, seen: float) -> float:
    return known + _WEIGHT * (min(seen, known * _BELIEVED) - known)
