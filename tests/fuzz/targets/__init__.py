"""What takes bytes from outside, each as a function that raises where a rule is broken.

The rules: no exception but the one that the function promises, no text lost or doubled, the same result whatever the
chunking. An input's first byte says which target it is for, so that one fuzzer shares its time among all.
"""

from tests.fuzz.targets import calls, contents, files, model_text, providers  # noqa: F401 - each adds its targets
from tests.fuzz.targets.registry import TARGETS

__all__ = ["TARGETS", "run"]


def run(data: bytes) -> None:
    """Give an input to its target; one that names none is nothing."""
    target = TARGETS.get(data[:1].decode("latin-1"))
    if target is not None:
        target(data[1:])
