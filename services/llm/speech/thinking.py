"""Tells an answer from the model's thinking: `<think>…</think>` and the like, in any chunking. Pure."""

import re
from dataclasses import dataclass
from enum import Enum

OPENINGS = ("<think>", "<thinking>", "<seed:think>", "[THINK]", "<|START_THINKING|>")
"""What begins a thought: most models, Seed-OSS, Magistral, Command A."""
CLOSINGS = ("</think>", "</thinking>", "</seed:think>", "[/THINK]", "<|END_THINKING|>")
_TAG = re.compile("|".join(map(re.escape, OPENINGS + CLOSINGS)))
_BEGINNINGS = frozenset(tag[:length] for tag in OPENINGS + CLOSINGS for length in range(1, len(tag)))


class Kind(Enum):
    """What a piece of output is."""

    ANSWER = "answer"
    THOUGHT = "thought"
    ALL_WAS_THOUGHT = "all_was_thought"
    """No text: a closing tag that nothing opened says that all the answer before it was thinking."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of output."""

    kind: Kind
    text: str


class ThinkingFilter:
    """Sorts text deltas into answer and thought; the tags themselves go. What is never closed is thought to its end."""

    def __init__(self) -> None:
        self._kind = Kind.ANSWER
        self._rest = ""
        self._ever_thought = False

    def feed(self, text: str) -> list[Part]:
        """Sort more text; what may be the beginning of a tag waits for the rest of it."""
        if not self._rest and "<" not in text and "[" not in text:
            return [Part(self._kind, text)] if text else []
        text = self._rest + text
        parts: list[Part] = []
        start = 0
        for tag in _TAG.finditer(text):
            parts += self._part(text[start : tag.start()])
            start = tag.end()
            if tag[0] in CLOSINGS:
                if not self._ever_thought:
                    parts.append(Part(Kind.ALL_WAS_THOUGHT, ""))
                self._kind = Kind.ANSWER
            else:
                self._kind = Kind.THOUGHT
            self._ever_thought = True
        text = text[start:]
        opening = max(text.rfind("<"), text.rfind("["))
        held = opening if opening >= 0 and text[opening:] in _BEGINNINGS else len(text)
        self._rest = text[held:]
        return parts + self._part(text[:held])

    def finish(self) -> list[Part]:
        """What was held back was no tag."""
        rest, self._rest = self._rest, ""
        return self._part(rest)

    def _part(self, text: str) -> list[Part]:
        return [Part(self._kind, text)] if text else []
