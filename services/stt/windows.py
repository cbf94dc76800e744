"""How long recordings are split: at silences, into windows that a model takes in one piece. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.stt.timebase import to_samples

MAX_WINDOW_S = 30.0
MAX_GAP_S = 2.0
"""Longer silences are not given to the model: it invents text for them."""


@dataclass(frozen=True)
class Span:
    """Samples from `start` up to `end`, with speech from `onset` up to `speech_end`."""

    start: int
    onset: int
    speech_end: int
    end: int


def pack(spans: Iterable[Span], longest_s: float = MAX_WINDOW_S, widest_gap_s: float = MAX_GAP_S) -> list[Span]:
    """Join neighbouring stretches of speech while they fit into one window: the more context, the better the text.

    A span that is itself longer than the window stays alone.
    """
    windows: list[Span] = []
    for span in spans:
        last = windows[-1] if windows else None
        if (
            last is not None
            and span.end - last.start <= to_samples(longest_s)
            and span.start - last.end <= to_samples(widest_gap_s)
        ):
            windows[-1] = Span(last.start, last.onset, span.speech_end, span.end)
        else:
            windows.append(span)
    return windows
