"""Interim transcripts that do not flicker: what two recognitions of the growing speech agree on stays. Pure.

LocalAgreement-2 (Liu et al., 2020, "Low-latency sequence-to-sequence speech recognition and translation by partial
hypothesis selection"; Macháček et al., 2023, "Turning Whisper into real-time transcription system"): the words with
which two recognitions in a row begin are taken for settled.
"""

import re
from collections.abc import Sequence

from services.stt import languages


def split(text: str, language: str) -> list[str]:
    """Words; characters where the language, by its code, is written without spaces."""
    return text.split() if languages.has_spaces(language) else list(text)


def unsplit(tokens: Sequence[str], language: str) -> str:
    """What `split` took apart."""
    return (" " if languages.has_spaces(language) else "").join(tokens)


def continue_from(settled: Sequence[str], heard: Sequence[str]) -> int:
    """Where a recognition goes on after words that are settled, though it may have heard some of them otherwise.

    The place is the one before which the recognition is most like what is settled (edit distance of words, without
    case and punctuation), the nearest one among equals.
    """
    if list(heard[: len(settled)]) == list(settled):
        return len(settled)
    kept, said = [_bare(token) for token in settled], [_bare(token) for token in heard]
    costs = list(range(len(said) + 1))
    for row, token in enumerate(kept, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(said, 1):
            cost = min(diagonal + (token != other), costs[column] + 1, costs[column - 1] + 1)
            diagonal, costs[column] = costs[column], cost
    return min(range(len(costs)), key=lambda at: (costs[at], abs(at - len(settled))))


class Agreement:
    """What is settled of the speech that goes on.

    Attributes:
        settled: the words that every text to come begins with.
    """

    def __init__(self) -> None:
        self.settled: list[str] = []
        self._last: list[str] = []

    def hear(self, heard: Sequence[str]) -> list[str]:
        """Take the next recognition, whole; returns its words behind what is settled, and settles what it confirms."""
        said = self.settle(heard)
        agreed = _common(said, self._last)
        if agreed > len(self.settled):
            self.settled = said[:agreed]
        self._last = said
        return said

    def settle(self, heard: Sequence[str]) -> list[str]:
        """The same without taking it for one of the recognitions that must agree."""
        return [*self.settled, *heard[continue_from(self.settled, heard) :]]


def _bare(token: str) -> str:
    return re.sub(r"\W", "", token).lower() or token


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
