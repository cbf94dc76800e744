"""What to make of a decoded text: Whisper invents words for noise, and sometimes repeats itself without end. Pure.

Thresholds are those of openai/whisper's `transcribe`.
"""

import re
import zlib
from dataclasses import dataclass
from enum import Enum

NO_SPEECH_PROBABILITY = 0.6
MIN_MEAN_LOG_PROBABILITY = -1.0
MAX_COMPRESSION_RATIO = 2.4
_SAID_TWICE = re.compile(r"(?<!\w)(\w+(?:[^\w.!?。！？।؟]+\w+){2,}[.!?。！？।؟])\s+\1", re.IGNORECASE)
"""A sentence of three words or more, and the same again at once: what a shortened window makes of some recordings."""


class Verdict(Enum):
    """What to do with a decoding."""

    ACCEPT = "accept"
    RETRY = "retry"
    """Decode again with a beam and a whole window: it repeats itself."""
    DROP = "drop"
    """Nothing was said."""


@dataclass(frozen=True)
class Decoding:
    """A text with the model's own doubts: mean log probability of its tokens, probability that there is no speech."""

    text: str
    mean_log_probability: float
    no_speech_probability: float


def compression_ratio(text: str) -> float:
    """Length over compressed length of the UTF-8 bytes: high for text that repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def judge(decoding: Decoding, *, is_retry: bool = False) -> Verdict:
    """Accept, retry or drop a decoding; a retry is never retried.

    Someone may really say "no, no, no, no": a retry that still repeats itself is accepted where the model is sure.
    """
    if not any(character.isalnum() for character in decoding.text):
        return Verdict.DROP
    unsure = decoding.mean_log_probability < MIN_MEAN_LOG_PROBABILITY
    if decoding.no_speech_probability >= NO_SPEECH_PROBABILITY and unsure:
        return Verdict.DROP
    repeats = compression_ratio(decoding.text) > MAX_COMPRESSION_RATIO
    if not is_retry:
        return Verdict.RETRY if repeats or _SAID_TWICE.search(decoding.text) else Verdict.ACCEPT
    if not repeats:
        return Verdict.ACCEPT
    return Verdict.DROP if unsure or decoding.no_speech_probability >= NO_SPEECH_PROBABILITY else Verdict.ACCEPT
