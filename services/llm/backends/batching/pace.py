"""How long steps take, and so how much of a prompt may join one. Pure."""

_WEIGHT = 0.4
_SHARE = 0.7
"""Of the time of a step that only decodes, what prompts may add: streams keep more than half of their pace."""
_LEAST_SLICE = 4
_LEAST_ALONE = 64
_FIRST_GUESS_S = 0.0005


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

    def saw(self, rows: int, prompt_tokens: int, seconds: float) -> None:
        """Note a step: how many sequences decoded in it, how many tokens of prompts were with them."""
        if not prompt_tokens:
            known = self._rows.get(rows)
            self._rows[rows] = seconds if known is None else known + _WEIGHT * (seconds - known)
        elif prompt_tokens >= _LEAST_SLICE:
            cost = max(seconds - self.step_s(rows), seconds * 0.1) / prompt_tokens
            self._token_s += _WEIGHT * (cost - self._token_s)

    def step_s(self, rows: int) -> float:
        """Seconds of a step that only decodes; from the nearest number of rows that has been seen."""
        if rows in self._rows or not self._rows:
            return self._rows.get(rows, self._slice_s / 4)
        return self._rows[min(self._rows, key=lambda seen: abs(seen - rows))]

    def budget(self, rows: int) -> int:
        """Tokens of prompts that may join the next step: as many as leave those that decode half of their pace."""
        if rows:
            return max(_LEAST_SLICE, min(self._most, int(self.step_s(rows) * _SHARE / self._token_s)))
        return max(_LEAST_ALONE, min(self._most, int((self._slice_s - self.step_s(1)) / self._token_s)))
