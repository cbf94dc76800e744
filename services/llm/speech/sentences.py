"""Cuts speakable text into sentences as it comes. Pure and incremental.

A sentence is out as soon as its end is certain: at the white space after a full stop, at the character after 。 or ！.
Only the abbreviations know languages; the rest goes by characters (the property STerm of Unicode Standard Annex 29).
"""

import re
import unicodedata
from dataclasses import dataclass

from services.llm.speech.abbreviations import ENDS_BEFORE_CAPITAL, ENDS_UNLESS_NUMBER, NEVER_ENDS
from services.llm.speech.conjunctions import CONJUNCTIONS

MAX_SENTENCE = 400
"""Characters after which text without an end is cut, so that speech does not wait for ever."""
MAX_UNSPACED = 160
"""The same where words have no spaces between them: there a character says three times as much."""
UNPUNCTUATED_MIN = 80
"""Characters from which a space ends a phrase in scripts that write no sentence ends (Thai, Lao)."""
_MIN_CLAUSE = 160

_ENDS = "。！？｡।॥؟۔։።፧፨။។៕᠃᠉꓿‼⁇⁈⁉"
_ENDS_IN_SPACED = ".!?…"
_TERMINATORS = frozenset(_ENDS + _ENDS_IN_SPACED)
_CLOSERS = frozenset("\"')]}”’»›」』）】〉》〕］｝")
_OPENERS = "\"'([{“‘«‹「『（【〈《〔［｛¿¡"
_CANDIDATE = re.compile(f"[{re.escape(_ENDS + _ENDS_IN_SPACED)}]|(?<=[\u0e00-\u0eff])\\s")
_CLAUSE_END = re.compile(r"[,;:，；：、،؛—–](?=\s)|[，；：、]")
_FIRST_CLAUSE_END = re.compile(
    rf"[,;:，；：、،؛—–](?=\s)|[，；：、](?=\S)|(?<=\w)(?=\s(?:{'|'.join(CONJUNCTIONS)})\s)", re.IGNORECASE
)
_NO_SPACES_BETWEEN_WORDS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_SPEAKABLE = re.compile(r"[^\W_]|[$€£¥₹₽₩₿¢°%+=<>×÷±√∞≈≠≤≥§©®™#&@]")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_BEFORE_CONSONANT = "เแโใไເແໂໃໄ"
_AFTER_CONSONANT = "ะาำๅๆฯະາຳໆຯー々ゝヽ"
"""Letters of Thai, Lao and Japanese that belong to the one before them."""
_VIRAMA = 9
"""The combining class of the sign that joins a consonant to the next."""
_STOPS_AT_ONCE = frozenset(_ENDS + "!?")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with the white space before it; `cut` where its end is not one, but the length was reached."""

    text: str
    cut: bool = False


class SentenceSplitter:
    """Feeds on text and paragraph ends; nothing but space is lost: the sentences together are the text.

    Args:
        first_clause_min: characters from which the very first cut may also be a clause's end ("Well, ..."); 0 waits for
            the sentence.
    """

    def __init__(self, first_clause_min: int = 0) -> None:
        self._clause_min = first_clause_min
        self._text = ""
        self._seen = 0
        """Where the search for an end goes on: all before is no end."""
        self._joined: list[tuple[int, int]] = []
        """Stretches (start, end) inside which no sentence ends."""

    def feed(self, text: str, *, joined: bool = False) -> list[Sentence]:
        """More text; `joined` text has no end inside."""
        sentences: list[Sentence] = []
        while text:
            # Never past a length that counts at a time: what is cut must not depend on the size of the chunks.
            length = len(self._text)
            room = (MAX_UNSPACED if length < MAX_UNSPACED else MAX_SENTENCE) - length
            if joined:
                self._join(length, length + min(room, len(text)))
            self._text += text[:room]
            text = text[room:]
            self._split(sentences)
        return sentences

    def end_paragraph(self) -> list[Sentence]:
        """The text so far ends a sentence, whatever its punctuation."""
        if not is_speakable(self._text):
            return self.feed("\n") if self._text.strip() else []
        return [Sentence(self._take(len(self._text)).text.rstrip() + "\n")]

    def finish(self) -> list[Sentence]:
        """Nothing follows; a rest that nobody can speak is dropped."""
        sentence = self._take(len(self._text))
        return [sentence] if is_speakable(sentence.text) else []

    @property
    def any_text(self) -> bool:
        """Whether there is an unfinished sentence."""
        return bool(self._text)

    def cut_words(self, least: int) -> Sentence | None:
        """What is certain of a sentence that has not ended: its whole words, if they are `least` characters.

        An end that only lacks the white space after it counts as one, but for a full stop: "3." may become "3.14".
        """
        text = self._text
        at = len(text)
        if not at or text[-1] not in _STOPS_AT_ONCE or "://" in _word_before(text, at):
            at = next(
                (at for at in range(at - 1, least - 1, -1) if text[at].isspace() and not self._inside_joined(at)), 0
            )
        return self._take(at, cut=True) if at and is_speakable(text[:at]) else None

    def _split(self, sentences: list[Sentence]) -> None:
        while True:
            candidate = _CANDIDATE.search(self._text, self._seen)
            # What comes first in the text counts, so that the size of the chunks does not.
            clause = self._first_clause(candidate.start() if candidate else len(self._text))
            if clause:
                sentences.append(self._take(clause, cut=True))
                continue
            if candidate is None:
                self._seen = len(self._text)
            else:
                end, certain = self._end_at(candidate.start())
                if certain and end and _SPEAKABLE.search(self._text, 0, end):
                    sentences.append(self._take(end))
                    continue
                if certain:
                    self._seen = candidate.end()
                    continue
                self._seen = candidate.start()
            unspaced = self._is_long_without_spaces()
            if len(self._text) < MAX_SENTENCE and not unspaced:
                return
            sentences.append(self._cut(at_space=not unspaced))

    def _first_clause(self, before: int) -> int:
        """Where the clause ends that may be spoken before its sentence is whole; 0 where there is none yet."""
        if not self._clause_min:
            return 0
        for match in _FIRST_CLAUSE_END.finditer(self._text, max(0, self._clause_min - 1), before):
            end = match.end()
            if end >= self._clause_min and not self._inside_joined(end) and is_speakable(self._text[:end]):
                return end
        return 0

    def _end_at(self, start: int) -> tuple[int, bool]:
        """Where the sentence ends whose end may be at `start` (0: it does not), and whether that is certain yet."""
        text = self._text
        if text[start].isspace():
            least = min(self._clause_min or UNPUNCTUATED_MIN, UNPUNCTUATED_MIN)
            return (start if start >= least and not self._inside_joined(start) else 0), True
        stops = start
        while stops < len(text) and text[stops] in _TERMINATORS:
            stops += 1
        end = stops
        while end < len(text) and text[end] in _CLOSERS:
            end += 1
        if end == len(text):
            return 0, False
        if self._inside_joined(end):
            return 0, True
        run, after = text[start:stops], text[end]
        if any(character in _ENDS for character in run):
            return end, True
        if not after.isspace():
            unspaced = _NO_SPACES_BETWEEN_WORDS.match(after) and (
                run != "." or _NO_SPACES_BETWEEN_WORDS.match(text, start - 1)
            )
            return (end if unspaced and "://" not in _word_before(text, start) else 0), True
        following = text[end:].lstrip()[:1]
        if run != ".":
            if end == stops:
                return end, True
            return (0 if following.islower() else end), bool(following)  # "Really?" she asked.
        word = _word_before(text, start)
        return self._full_stop(word, end, following, first=not text[: start - len(word)].strip())

    def _full_stop(self, word: str, end: int, following: str, *, first: bool) -> tuple[int, bool]:
        """A single full stop before white space, after a word (the first of the sentence or not)."""
        word = word.lstrip(_OPENERS)
        lower = word.lower()
        if lower in NEVER_ENDS or (first and _NUMBER.fullmatch(word)):
            return 0, True
        if lower in ENDS_BEFORE_CAPITAL or (len(word) == 1 and word.islower() and not first):
            capital = following.isupper() or following in _OPENERS or (following.isalpha() and not following.islower())
            return (end if capital else 0), bool(following)
        if lower in ENDS_UNLESS_NUMBER:
            return (0 if following.isdecimal() else end), bool(following)
        if (len(word) == 1 and word.isalpha() and word != "I") or _INITIALS.fullmatch(word):
            return 0, True
        return end, True

    def _is_long_without_spaces(self) -> bool:
        """Whether the text is as long as it may be where it is mostly one run without a space."""
        text = self._text
        return (
            len(text) == MAX_UNSPACED
            and _NO_SPACES_BETWEEN_WORDS.match(text, len(text) - 1) is not None
            and not self._joined
            and len(text.rsplit(None, 1)[-1]) > MAX_UNSPACED // 2
        )

    def _cut(self, *, at_space: bool) -> Sentence:
        """Cut what is too long: after a clause, else at a space, else between two characters."""
        text = self._text
        clauses = [match.end() for match in _CLAUSE_END.finditer(text, min(_MIN_CLAUSE, len(text) // 2))]
        space = max(text.rfind(" "), text.rfind("\n"))
        if clauses:
            at = clauses[-1]
        elif at_space and text[: max(space, 0)].strip():
            at = space
        else:
            borders = range(len(text) - 1, len(text) // 2, -1)  # what goes on for longer is no character
            at = next((at for at in borders if not _are_one(text[at - 1], text[at])), len(text) - 1)
        return self._take(at, cut=True)

    def _take(self, end: int, *, cut: bool = False) -> Sentence:
        sentence = Sentence(self._text[:end], cut)
        if is_speakable(sentence.text):
            self._clause_min = 0
        self._text = self._text[end:]
        self._seen = max(0, self._seen - end)
        self._joined = [(max(0, first - end), last - end) for first, last in self._joined if last > end]
        return sentence

    def _join(self, start: int, end: int) -> None:
        if self._joined and self._joined[-1][1] == start:
            start = self._joined.pop()[0]
        self._joined.append((start, end))

    def _inside_joined(self, position: int) -> bool:
        return any(start < position < end for start, end in self._joined)


def is_speakable(text: str) -> bool:
    """Whether there is anything in it that a voice can say: a letter, a digit, a spoken sign."""
    return _SPEAKABLE.search(text) is not None


def _are_one(before: str, after: str) -> bool:
    """Whether a reader takes these two characters for one."""
    return (
        unicodedata.category(after).startswith("M")
        or after in _AFTER_CONSONANT
        or before in _BEFORE_CONSONANT
        or unicodedata.combining(before) == _VIRAMA
    )


def _word_before(text: str, end: int) -> str:
    """What stands between the last white space before `end` and `end`."""
    words = text[:end].rsplit(None, 1)
    return words[-1] if words and not text[end - 1 : end].isspace() else ""
