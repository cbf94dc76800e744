"""The table that `espeak-ng --voices` prints, as voices. Pure functions."""

import re

from services.common.audio_format import AudioFormat
from services.tts.domain import Voice

_ROW = re.compile(r"^\s*\d+\s+(?P<language>\S+)\s+\S+/\S+\s+\S+\s+(?P<file>\S+)\s*(?P<others>.*)$")
_OTHER = re.compile(r"\((\S+) \d+\)")
_SEPARATE_DATA = "mb/"
"""Voices of MBROLA, a program of its own."""


def parse_voices(table: str, engine: str, native_format: AudioFormat) -> tuple[Voice, ...]:
    """Voices by the name of their file ("en-US"), which `-v` takes and which is unique."""
    voices: dict[str, Voice] = {}
    for line in table.splitlines():
        row = _ROW.match(line)
        if row is None or row["file"].startswith(_SEPARATE_DATA):
            continue
        name = row["file"].rpartition("/")[2]
        codes = dict.fromkeys(bcp47_case(code) for code in (row["language"], *_OTHER.findall(row["others"])))
        voices.setdefault(name, Voice(name, engine, tuple(codes), native_format))
    return tuple(voices.values())


def bcp47_case(code: str) -> str:
    """The usual case of a language code (RFC 5646, 2.1.1): "en-us" as "en-US", "uz-latn" as "uz-Latn"."""
    first, *rest = code.split("-")
    parts = [first.lower()]
    for part in rest:
        after_singleton = len(parts[-1]) == 1
        if len(part) == 2 and not after_singleton:
            parts.append(part.upper())
        elif len(part) == 4 and part.isalpha() and not after_singleton:
            parts.append(part.capitalize())
        else:
            parts.append(part.lower())
    return "-".join(parts)
