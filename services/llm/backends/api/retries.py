"""When a failed request is tried again: a few times, with growing, jittered waits, or when the provider says."""

import random

from services.llm.backends.api.failures import ProviderFailure

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 8.0


class Retries:
    """The tries that one request has left."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._backoff_s = _FIRST_WAIT_S

    def wait_s(self, failure: ProviderFailure, time_left_s: float) -> float | None:
        """Seconds to wait before the next try; None where there is none.

        Args:
            failure: why the last one failed.
            time_left_s: seconds until the answer must have begun.
        """
        if not self._left or not failure.may_pass:
            return None
        self._left -= 1
        backoff_s, self._backoff_s = self._backoff_s, min(self._backoff_s * 2, _LONGEST_WAIT_S)
        wait_s = backoff_s * random.uniform(0.5, 1.0)
        if failure.wait_s is not None:
            # Those who were told the same moment must not all come in it.
            wait_s = failure.wait_s + (random.uniform(0, 0.1) * failure.wait_s)
        return wait_s if wait_s < time_left_s else None
