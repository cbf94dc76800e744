"""What comes out of a task group, as those outside it know it."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def first_error(*kinds: type[Exception]) -> Iterator[None]:
    """The first error of these kinds that a task group inside raises, in place of the group's."""
    failure: Exception | None = None  # raised at the end: before 3.11.4 Python wraps what is raised in `except*`
    try:
        yield
    except* kinds as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
