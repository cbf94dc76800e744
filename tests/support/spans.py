"""The spans of what a test does in its own process."""

import contextlib
from collections.abc import Iterator

from services.common import tracing


@contextlib.contextmanager
def recorded(*, content: bool = False) -> Iterator[list[tracing.RecordedSpan]]:
    """Tracing is on inside; yields the spans that have ended."""
    spans: list[tracing.RecordedSpan] = []
    tracing.send_to(spans.append, content=content)
    try:
        yield spans
    finally:
        tracing.send_to(None)
