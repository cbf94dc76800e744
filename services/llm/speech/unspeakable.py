"""Takes out what no voice can say: emoji, control and zero-width characters, runs of spaces. Pure and incremental.

Letters, combining marks, digits, currency, operators, ° and punctuation of every script stay. Ranges are those of
Unicode 16's emoji-data.txt and of the general categories Cc, Cf, Co and Cs.
"""

import re
import unicodedata

_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffd\U000e0000-\U000e01ef"
)
_PICTURES = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf"
    "\u2934\u2935\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\uf8ff\U000f0000-\U0010ffff"
_ZERO_WIDTH = re.compile(f"[{_INVISIBLE}]+")
_GAP = re.compile(f"[{_PICTURES}{_CONTROLS}]+")
_ANY = re.compile(f"[{_INVISIBLE}{_PICTURES}{_CONTROLS}]|\\s\\s|[^\\S ]")
_SPACES = re.compile(r"\s+")


class Cleaner:
    """Cleans text; two words that only a picture kept apart get a space."""

    def __init__(self) -> None:
        self._last = " "
        self._gap = False

    def feed(self, text: str, *, verbatim: bool = False) -> str:
        """The speakable part of more text. `verbatim` keeps white space as it is, as in program code."""
        if not self._gap and not (text[:1].isspace() and self._last.isspace()) and not _ANY.search(text):
            self._last = text[-1:] or self._last
            return text
        cleaned: list[str] = []
        for index, piece in enumerate(_GAP.split(_ZERO_WIDTH.sub("", text))):
            self._gap = self._gap or index > 0
            if not verbatim:
                piece = _SPACES.sub(" ", piece)
                if self._last.isspace():
                    piece = piece.lstrip()
            if not piece:
                continue
            if self._gap and _in_word(self._last) and _in_word(piece[0]):
                cleaned.append(" ")
            cleaned.append(piece)
            self._gap = False
            self._last = piece[-1]
        return "".join(cleaned)


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")
