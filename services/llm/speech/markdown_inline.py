"""Takes inline Markdown out of a paragraph: emphasis, code spans, links, escapes. Pure and incremental.

A delimiter goes only if its partner comes: `*args`, `2*3` and `snake_case` are text. So text from an opening delimiter
on is held back until the partner comes, the paragraph ends or `MAX_HELD` characters have come, whichever is first. The
rules are CommonMark's (0.31, section 6), but stricter where speech would lose an operator: a delimiter inside a word is
text.
"""

import re
from dataclasses import dataclass

MAX_HELD = 250
"""Characters that an unanswered delimiter may hold back."""
_MAX_LINK = 1000
_SPECIAL = re.compile(r"[*_`\[\]\\<]|~~?|!(?=\[|\Z)")
_SPECIAL_IN_TABLE = re.compile(r"[*_`\[\]\\<|]|~~?|!(?=\[|\Z)")
_RUN = re.compile(r"(.)\1*", re.DOTALL)
_TICKS = re.compile(r"`+")
_LINK_TARGET = re.compile(r"""\]\([ \t]*(?:<[^<>\n]*>|[^\s<]\S*)?(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'))?[ \t]*\)""")
_NO_LINK_TARGET = re.compile(r"""\]\([^\n]*\n|\]\([ \t]*[^\s<]\S*[ \t]+[^\s"')]""")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]*)>|<(br)\s?/?>", re.IGNORECASE)
_AUTOLINK_SCHEMES = ("http://", "https://", "mailto:", "br>", "br/>", "br />")
_ESCAPABLE = frozenset("\\`*_{}[]()#+-.!~|<>")
# Scripts that write no spaces between words, and Hangul, whose particles follow a word without one.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


@dataclass
class _Token:
    text: str
    joined: bool = False
    """Whether speech must not be cut inside: the text of a pair, of code or of a link."""


@dataclass
class _Opener:
    """A delimiter that waits for its partner: which token it is, its character, how often."""

    token: int
    character: str
    count: int


class InlineMarkdown:
    """One paragraph at a time; `feed` and `finish` return pieces of (text, whether it must stay in one piece)."""

    def __init__(self) -> None:
        self._unread = ""
        self._previous = ""
        self._held: list[_Token] = []
        self._held_length = 0
        self._openers: list[_Opener] = []
        self._pieces: list[tuple[str, bool]] = []
        self._special = _SPECIAL

    def begin(self, *, table_row: bool) -> None:
        """A new paragraph."""
        self._previous = ""
        self._special = _SPECIAL_IN_TABLE if table_row else _SPECIAL

    def feed(self, text: str) -> list[tuple[str, bool]]:
        """More of the paragraph."""
        if not self._unread and not self._openers and not self._special.search(text):  # nearly always
            self._previous = text[-1:] or self._previous
            return [(text, False)]
        self._unread += text
        self._read(final=False)
        return self._take()

    def finish(self) -> list[tuple[str, bool]]:
        """The paragraph is over: what has no partner is text."""
        self._read(final=True)
        self._release()
        return self._take()

    def _read(self, *, final: bool) -> None:
        position = 0
        while position < len(self._unread):
            special = self._special.search(self._unread, position)
            start = special.start() if special else len(self._unread)
            if start > position:
                self._text(self._unread[position:start])
                position = start
            if special is None:
                break
            end = self._read_special(position, final)
            if end is None:
                break
            position = end
        self._unread = self._unread[position:]

    def _read_special(self, start: int, final: bool) -> int | None:
        """Understand the markup at `start`; returns where it ends, or None where more must be seen first."""
        text = self._unread
        character = text[start]
        if character in "*_~":
            return self._delimiter(start, final)
        if character == "`":
            return self._code(start, final)
        if character == "]":
            return self._link_end(start, final)
        if character == "<":
            return self._autolink(start, final)
        if character == "|":
            self._text(" ")
            return start + 1
        if character == "[":
            self._open("[", 1)
            return start + 1
        if start + 1 == len(text) and not final:
            return None
        if character == "!":
            if text[start + 1 : start + 2] == "[":
                self._open("![", 1)
                return start + 2
            self._text("!")
            return start + 1
        escaped = text[start + 1 : start + 2]
        literal = escaped if escaped and escaped in _ESCAPABLE else "\\"
        self._text(literal)
        return start + (2 if literal == escaped else 1)

    def _delimiter(self, start: int, final: bool) -> int | None:
        text = self._unread
        run = _RUN.match(text, start)
        assert run is not None
        end = run.end()
        following = text[end : end + 2]
        undecided = not following or (following == "." and self._openers)
        if not final and undecided and end - start < MAX_HELD:
            return None
        character, count = text[start], end - start
        strong = count >= 2
        before, after = self._previous, following[:1]
        can_close = (
            bool(before)
            and not before.isspace()
            and not _in_word(after, strong)
            and not (len(following) == 2 and after == "." and following[1].isalnum())
        )
        can_open = bool(after) and not after.isspace() and not _in_word(before, strong)
        right_length = count == 2 if character == "~" else count <= 3
        if right_length and can_close:
            count = self._close(character, count)
        if count and right_length and can_open and count == end - start:
            self._open(character, count)
        elif count:
            self._text(character * count)
        self._previous = character
        return end

    def _open(self, character: str, count: int) -> None:
        self._openers.append(_Opener(len(self._held), character, count))
        self._held.append(_Token(character * count))
        self._previous = character[-1]

    def _close(self, character: str, count: int) -> int:
        """Match a closing run with the openers before it; returns how many of its characters found no partner."""
        while count:
            at = next((i for i in reversed(range(len(self._openers))) if self._openers[i].character == character), None)
            if at is None:
                break
            opener = self._openers[at]
            if opener.count > count and opener.count != 3:
                break
            matched = min(opener.count, count)
            count -= matched
            opener.count -= matched
            self._held[opener.token].text = character * opener.count
            self._pair(at, keep=opener.count > 0)
        return count

    def _pair(self, at: int, *, keep: bool = False) -> None:
        """The opener at index `at` has found its partner: what lies between stays in one piece."""
        for token in self._held[self._openers[at].token + 1 :]:
            token.joined = True
        del self._openers[at + 1 if keep else at :]
        if not self._openers:
            self._release()

    def _code(self, start: int, final: bool) -> int | None:
        text = self._unread
        opening = _TICKS.match(text, start)
        assert opening is not None
        end, count = opening.end(), opening.end() - start
        if count >= MAX_HELD:
            self._text("`" * count)
            return end
        if end == len(text) and not final:
            return None
        for closing in _TICKS.finditer(text, end, min(len(text), end + MAX_HELD)):
            if closing.end() == len(text) and not final:
                return None
            if closing.end() - closing.start() == count:
                code = text[end : closing.start()]
                if code.strip() and code[0] == code[-1] == " ":
                    code = code[1:-1]
                self._text(code, joined=True)
                self._previous = "`"
                return closing.end()
        if len(text) - end < MAX_HELD and not final:
            return None
        self._text("`" * count)
        return end

    def _link_end(self, start: int, final: bool) -> int | None:
        text = self._unread
        at = next((i for i in reversed(range(len(self._openers))) if self._openers[i].character in ("[", "![")), None)
        if at is None:
            self._text("]")
            return start + 1
        if start + 1 == len(text) and not final:
            return None
        end = _target_end(text, start)
        if end is None and not final and len(text) - start < _MAX_LINK:
            return None
        if not end:
            self._text("]")
            if self._openers:  # else the bracket was one too many to hold back
                del self._openers[at]
                if not self._openers:
                    self._release()
            return start + 1
        self._held[self._openers[at].token].text = ""
        self._previous = ")"
        self._pair(at)
        return end

    def _autolink(self, start: int, final: bool) -> int | None:
        text = self._unread
        link = _AUTOLINK.match(text, start)
        if link is not None and link.end() - start <= MAX_HELD:
            self._text("\n" if link[2] else link[1], joined=not link[2])
            return link.end()
        tail = text[start + 1 : start + 1 + MAX_HELD].lower()
        begun = any(scheme.startswith(tail) or tail.startswith(scheme) for scheme in _AUTOLINK_SCHEMES)
        if begun and not final and len(tail) < MAX_HELD and not re.search(r"[\s<>]", tail.removeprefix("br ")):
            return None
        self._text("<")
        return start + 1

    def _text(self, text: str, *, joined: bool = False) -> None:
        self._previous = text[-1:] or self._previous
        if not self._openers:
            self._pieces.append((text, joined))
            return
        self._held.append(_Token(text, joined))
        self._held_length += len(text)
        if self._held_length > MAX_HELD:
            self._openers.clear()
            self._release()

    def _release(self) -> None:
        """Nothing waits any more: what is left of the openers is text."""
        self._pieces += ((token.text, token.joined) for token in self._held if token.text)
        self._held.clear()
        self._held_length = 0
        self._openers.clear()

    def _take(self) -> list[tuple[str, bool]]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _in_word(character: str, strong: bool) -> bool:
    """Whether a delimiter beside this character stands inside a word: `a*b`, but not `这是**重点**内容`."""
    return character.isalnum() and not (strong and _UNSPACED.match(character))


def _target_end(text: str, start: int) -> int | None:
    """Where the `](target)` at `start` ends; 0 where it is none, None where more must be seen first."""
    if not text.startswith("](", start):
        return 0
    depth = 0
    for position in range(start + 1, min(len(text), start + _MAX_LINK)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if not depth:
            return position + 1 if _LINK_TARGET.fullmatch(text, start, position + 1) else 0
    return 0 if _NO_LINK_TARGET.match(text, start, start + _MAX_LINK) else None
