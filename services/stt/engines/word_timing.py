"""Words out of Whisper's alignment. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.stt import languages
from services.stt.domain import Word


def words_of(alignment: Iterable[Mapping[str, Any]], language: str) -> tuple[Word, ...]:
    """Aligned pieces (`word`, `start`, `end`, `probability`) as the words of the text.

    Whisper splits at hyphens and apostrophes too: in a language with spaces, what begins without one belongs to the
    word before it.
    """
    words: list[Word] = []
    for piece in alignment:
        text, probability = str(piece["word"]), float(piece["probability"])
        if not text.strip():
            continue
        start_s, end_s = float(piece["start"]), float(piece["end"])
        if words and not text.startswith(" ") and languages.has_spaces(language):
            last = words[-1]
            sure = min(last.confidence or 0.0, probability)
            words[-1] = Word(last.text + text.rstrip(), last.start_s, max(last.end_s, end_s), sure)
        else:
            words.append(Word(text.strip(), start_s, end_s, probability))
    return tuple(words)
