"""Web and e-mail addresses, and file names, as one dictates them in English. Pure."""

import re

_TOP = "com|org|net|edu|gov|io|ai|dev|app|info|co|uk|de|fr|eu|us|ca|au|jp|in|it|es|nl|ch|at|se|me|tv|biz"
_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-]+)@([\w-]+(?:\.[\w-]+)+)")
_URL = re.compile(r"(?<![\w@.])https?://[^\s<>\"']*[\w/]", re.IGNORECASE)
_DOMAIN = re.compile(rf"(?<![\w@.-])(?:[a-zA-Z0-9-]+\.)+(?:{_TOP})\b(?:/[^\s<>\"']*[\w/])?(?![\w@])")
_SPOKEN = {
    ".": "dot",
    "/": "slash",
    "-": "dash",
    "_": "underscore",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    ":": "colon",
    "#": "hash",
    "%": "percent",
    "+": "plus",
    "~": "tilde",
    "@": "at",
}
_SPELLED = frozenset(
    {"www", "io", "ai", "uk", "de", "fr", "eu", "us", "ca", "au", "jp", "es", "nl", "ch", "se", "tv", "html", "php"}
)
"""Parts that one says letter by letter."""
_PART = re.compile(r"[A-Za-z]+|\d+|.")


def addresses(text: str) -> str:
    """The text with its addresses in words."""
    if "." not in text:
        return text
    text = _EMAIL.sub(lambda match: _say(match.group()), text)
    text = _URL.sub(lambda match: _say(match.group().split("://", 1)[1].rstrip("/")), text)
    return _DOMAIN.sub(lambda match: _say(match.group().rstrip("/")), text)


def _say(address: str) -> str:
    return " ".join(filter(None, map(_said, _PART.findall(address))))


def _said(part: str) -> str:
    if part in _SPOKEN:
        return _SPOKEN[part]
    if part.isdigit():
        return " ".join(part) if len(part) > 2 else part
    if part.lower() in _SPELLED:
        return " ".join(part.upper())
    return part if part.isalnum() else ""
