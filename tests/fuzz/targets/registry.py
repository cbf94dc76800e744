"""The targets, and what they share."""

from collections.abc import Callable, Iterable
from typing import Any

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
"""By the letter that an input begins with."""


def target(letter: str) -> Callable[[Target], Target]:
    """Give a function the inputs that begin with this letter."""

    def add(target: Target) -> Target:
        assert letter not in TARGETS
        TARGETS[letter] = target
        return target

    return add


def in_pieces(data: Any) -> Iterable[Any]:
    """The input in small pieces, whose sizes follow from its first byte or letter."""
    size = 1 + (data[0] if isinstance(data, bytes) else ord(data[0])) % 5 if data else 1
    return (data[at : at + size] for at in range(0, len(data), size))


def check(rule: bool, problem: str) -> None:
    """Say which rule is broken."""
    if not rule:
        raise AssertionError(problem)
