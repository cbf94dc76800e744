"""Between BCP-47 language tags and Whisper's language codes. Pure."""

from collections.abc import Collection

AUTO = "auto"
_WHISPER_CODES = {"fil": "tl", "he": "he", "iw": "he", "in": "id", "jv": "jw", "nb": "no"}
"""Tags whose primary subtag is not Whisper's code for the language."""
_TAGS = {"jw": "jv"}
_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def match(tag: str, known: Collection[str]) -> str | None:
    """The model's code for a tag ("en-GB" is "en", "nb" is "no"); None where the model does not know the language."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    code = _WHISPER_CODES.get(primary, primary)
    return code if code in known else None


def tag_of(code: str) -> str:
    """The BCP-47 tag of a model's code."""
    return _TAGS.get(code, code)


def has_spaces(code: str) -> bool:
    """Whether words are written apart in the language of a model's code."""
    return code not in _WITHOUT_SPACES


def join(texts: Collection[str], code: str) -> str:
    """Texts of neighbouring stretches of speech as one; with spaces where the language has them."""
    return (" " if has_spaces(code) else "").join(text for text in texts if text)
