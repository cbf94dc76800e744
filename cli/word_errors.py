"""Word error rate, for comparing what was heard with what was said. Pure."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def word_error_rate(said: str, heard: str) -> float:
    """Substitutions, deletions and insertions for each word said: Levenshtein's distance over words.

    0.0 where nothing was said and nothing heard, and 1.0 for each word heard of nothing.
    """
    reference, hypothesis = words(said), words(heard)
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, actual in enumerate(hypothesis, start=1):
            substituted = diagonal + (expected != actual)
            diagonal = row[j]
            row[j] = min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1] / max(1, len(reference))
