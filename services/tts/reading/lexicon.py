"""How an operator wants words to be said: `--tts_lexicon`, a YAML file of `written: spoken`."""

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from services.common.errors import StartupError


class Lexicon:
    """Whole words, or phrases, put in place of others.

    Args:
        entries: written to spoken; what is written in lower case stands for any case.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._exact = dict(entries)
        longest_first = sorted(map(re.escape, entries), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(longest_first)})(?!\w)", re.IGNORECASE) if entries else None

    def apply(self, text: str) -> str:
        """The text, its words as they are to be said."""
        return self._pattern.sub(self._said, text) if self._pattern else text

    def _said(self, match: re.Match[str]) -> str:
        word = match.group()
        return self._exact.get(word) or self._exact.get(word.lower()) or word


NO_LEXICON = Lexicon({})


def load_lexicon(path: Path | None) -> Lexicon:
    """The lexicon in a file; an empty one without any.

    Raises:
        StartupError: where the file is missing, or is no list of words.
    """
    if path is None:
        return NO_LEXICON
    try:
        entries = yaml.safe_load(path.expanduser().read_text("utf-8")) or {}
    except OSError as error:
        raise StartupError(f"--tts_lexicon {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StartupError(f"--tts_lexicon {path} is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(entries, dict):
        raise StartupError(f"--tts_lexicon {path}: not lines of `written: spoken`")
    for written, spoken in entries.items():
        if not (isinstance(written, str) and written.strip() and isinstance(spoken, str) and spoken.strip()):
            raise StartupError(f"--tts_lexicon {path}: {written!r}: {spoken!r} are not two texts; put them in quotes")
    return Lexicon(entries)
