"""The marks by which a prompt tells who speaks, and text in which none of them is one. Pure."""

import re
from collections.abc import Callable, Iterable
from typing import Any

_BRACKETED = re.compile(r"<+[^\s<>]{1,60}>+|\[/?[A-Z_]{2,40}\]")
"""How templates write marks that are no tokens of their own: `<|system|>`, `<<SYS>>`, `<tool_response>`, `[INST]`."""


class RoleMarks:
    """Breaks marks in what people and tools say: nobody ends his turn, or begins another's, by writing its mark.

    Args:
        control: the texts of the tokenizer's control tokens.
        fold: what the tokenizer does to a text before it looks for those of them that it looks for so (Unicode's
            compatibility forms, lower case); None where there are none.
    """

    def __init__(self, control: Iterable[str], fold: Callable[[str], str] | None = None) -> None:
        control = tuple(control)
        self._fold = fold
        self._control = _any_of(control)
        self._folded = _any_of(fold(token) for token in control) if fold else _any_of(())
        self._marks = self._control

    def learn(self, written: str) -> bool:
        """Take in the marks in what a template itself writes around a conversation; whether there are any."""
        marks = {token[0] for pattern in (self._control, _BRACKETED) for token in pattern.finditer(written)}
        self._marks = re.compile(f"{self._control.pattern}|{_any_of(marks).pattern}")
        return bool(marks)

    def without_control(self, text: str) -> str:
        """A text that holds no control token: what instructions and answers are made of."""
        return self._broken(self._control, text)

    def without_marks(self, text: str) -> str:
        """A text that holds no mark of a turn: what users and tools say."""
        return self._broken(self._marks, text)

    def in_values(self, value: Any) -> Any:
        """JSON, parsed, without marks in its texts and keys: in JSON text a mark may hide behind escapes."""
        if isinstance(value, str):
            return self.without_marks(value)
        if isinstance(value, list):
            return [self.in_values(item) for item in value]
        if isinstance(value, dict):
            return {self.without_marks(key): self.in_values(item) for key, item in value.items()}
        return value

    def _broken(self, marks: re.Pattern[str], text: str) -> str:
        text = marks.sub(_break, text)
        if self._fold is not None and self._folded.search(folded := self._fold(text)):
            text = self._folded.sub(_break, folded)
        return text


def fold_of(tokenizer: Any) -> Callable[[str], str] | None:
    """What `RoleMarks` is to know of a tokenizer: its normalizer, where it looks for control tokens behind that."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    added = tokenizer.added_tokens_decoder.values()
    if normalizer is None or not any(token.special and getattr(token, "normalized", False) for token in added):
        return None
    return lambda text: str(normalizer.normalize_str(text))


def _any_of(marks: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted((mark for mark in marks if mark), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _break(mark: re.Match[str]) -> str:
    return f"{mark[0][:1]} {mark[0][1:]}" if len(mark[0]) > 1 else " "
