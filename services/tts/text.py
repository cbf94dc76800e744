"""What text an engine gets: checked, cleaned, and cut where it is too long for one piece. Pure functions."""

import re
import unicodedata

from services.common.errors import InvalidArgumentError, TextTooLongError
from services.tts.domain import Voice

_SENTENCE_ENDS = ".!?…。！？｡।؟۔"
_CLAUSE_ENDS = ",;:—–،、，；："
_CLOSERS = "\"'”’»)]）」』"
_CLAUSE_BORDER = re.compile(rf"[{re.escape(_CLAUSE_ENDS)}][{re.escape(_CLOSERS)}]*(?=\s)|[،、，；：]")
_SENTENCE_BORDER = re.compile(
    rf"(?:(?<![.!?…])[.!?…]++[{re.escape(_CLOSERS)}]*+(?=\s)|[。！？｡।؟۔]+[{re.escape(_CLOSERS)}]*|\n)"
)
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|etc)|\b\w(?:\.\w)*)\.$")
"""What a full stop follows within a sentence: titles, and single letters ("e.g.", "J. S. Bach")."""
_LONGEST_ABBREVIATION = 40
_SPACE = re.compile(r"\s")

SENTENCE_PAUSE_S, CLAUSE_PAUSE_S, WORD_PAUSE_S = 0.35, 0.15, 0.04
"""Longest silence kept after a sentence, after a clause, and between words where a long clause had to be cut."""


def check_text(text: str, max_characters: int) -> None:
    """Refuse text that nobody can speak.

    Raises:
        InvalidArgumentError: naming `text`, where it is empty.
        TextTooLongError: naming `text`.
    """
    if len(text) > max_characters:
        raise TextTooLongError(f"{len(text)} characters are more than {max_characters}", field="text")
    if not text.strip():
        raise InvalidArgumentError("is empty", field="text")


def clean(text: str) -> str:
    """Text in Unicode's composed form (NFC), without control and format characters, lines kept."""
    if text.isascii() and text.isprintable():
        return text.strip()
    composed = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    return "".join(_readable(c) for c in composed).strip()


def _readable(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    category = unicodedata.category(character)
    # U+200C and U+200D shape Indic and Persian words; other format characters (U+200B, U+FEFF) mean nothing in speech.
    if character in "\u200c\u200d":
        return character
    return "" if category == "Cf" else " "


def has_speech(text: str) -> bool:
    """Whether there is anything to say: a letter or a digit of any script."""
    return any(c.isalnum() for c in text)


def foreign_script(text: str, voice: Voice) -> str:
    """The script of most letters of a text where the voice cannot read more than half of them; else ""."""
    scripts = voice.scripts
    if scripts is None or text.isascii():
        return ""
    letters = [c for c in text if c.isalpha()]
    foreign = [c for c in letters if not _is_of(c, scripts)]
    if 2 * len(foreign) <= len(letters):
        return ""
    names = [unicodedata.name(c, "UNNAMED").split()[0] for c in foreign]
    return max(sorted(set(names)), key=names.count)


def readable_by(text: str, voice: Voice) -> str:
    """The text without letters of scripts that the voice cannot read; they would be left out or read as nonsense.

    Raises:
        InvalidArgumentError: naming `text`, where it has letters but none that the voice can read.
    """
    scripts = voice.scripts
    if scripts is None or text.isascii():
        return text
    foreign = [not _is_of(c, scripts) for c in text]
    if not any(foreign):
        return text
    if all(is_foreign for c, is_foreign in zip(text, foreign, strict=True) if c.isalpha()):
        known = ", ".join(voice.language_codes)
        raise InvalidArgumentError(f"voice {voice.name!r} speaks {known} and cannot read this script", field="text")
    kept = "".join(" " if is_foreign else c for c, is_foreign in zip(text, foreign, strict=True))
    return re.sub(r"[^\S\n]+", " ", kept).strip()


def _is_of(character: str, scripts: frozenset[str]) -> bool:
    """Whether a character is readable: all but letters and marks of other scripts are."""
    if character.isascii() or unicodedata.category(character)[0] not in "LM":
        return True
    words = unicodedata.name(character, "UNNAMED").split()
    # Letters of the Latin script go by other names too: "FULLWIDTH LATIN", "FEMININE ORDINAL INDICATOR", "COMBINING".
    return not scripts.isdisjoint(words[:2]) or words[0] in ("COMBINING", "MODIFIER", "FEMININE", "MASCULINE", "MICRO")


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined by spaces (or by nothing, where there was none) they are the text."""
    found, begin = [], 0
    for border in _SENTENCE_BORDER.finditer(text):
        if not _ABBREVIATION.search(text, max(begin, border.end() - _LONGEST_ABBREVIATION), border.end()):
            found.append(text[begin : border.end()].strip())
            begin = border.end()
    found.append(text[begin:].strip())
    return [sentence for sentence in found if sentence]


def cut(text: str, limit: int) -> list[str]:
    """Pieces of at most `limit` characters, cut after a clause, else at a space, else anywhere; joined by spaces (or by
    nothing, where there was none) they are the text.
    """
    pieces = []
    rest = text.strip()
    while len(rest) > limit:
        at = _last_border(rest, limit)
        pieces.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    if rest:
        pieces.append(rest)
    return pieces


def _last_border(text: str, limit: int) -> int:
    """Where to cut: in the last two thirds of the limit, so that no piece is a single short word."""
    start = limit // 3
    clauses = [match.end() for match in _CLAUSE_BORDER.finditer(text, start, limit)]
    if clauses:
        return clauses[-1]
    spaces = [match.start() for match in _SPACE.finditer(text, start, limit + 1)]
    return spaces[-1] if spaces else limit


def longest_pause_s(piece: str, *, last: bool) -> float:
    """The longest silence (seconds) to keep after a piece; the last piece of a segment ends like a sentence."""
    end = piece.rstrip().rstrip(_CLOSERS)[-1:]
    if end in _CLAUSE_ENDS and end:
        return CLAUSE_PAUSE_S
    return SENTENCE_PAUSE_S if last or (end and end in _SENTENCE_ENDS) else WORD_PAUSE_S
