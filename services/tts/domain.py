"""What the TTS service talks about: voices, requests and events. Plain data and pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from services.common.audio_format import AudioFormat
from services.common.errors import InvalidArgumentError, VoiceNotFoundError

ANY_LANGUAGE = "mul"
MIN_RATE, MAX_RATE = 0.25, 4.0
"""Speaking rates that the contract allows; 1 is normal."""


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Args:
        name: what a request asks for.
        engine: the engine that speaks with it.
        language_codes: BCP-47, the main one first; "mul" for any language.
        native_format: what it sounds like unconverted.
        scripts: the scripts that it can read, as the first word of Unicode's character names ("LATIN"); None for all.
        reads_everything: whether it says numbers, dates and addresses well itself, better than rules do.
    """

    name: str
    engine: str
    language_codes: tuple[str, ...]
    native_format: AudioFormat
    scripts: frozenset[str] | None = None
    reads_everything: bool = False

    def speaks(self, language_code: str) -> bool:
        """Whether it speaks the language; a dialect of it ("en-GB" for "en-US") counts."""
        wanted = primary_subtag(language_code)
        return any(primary_subtag(code) in (wanted, ANY_LANGUAGE) for code in self.language_codes)


@dataclass(frozen=True)
class SynthesisRequest:
    """One request, as a client sent it; "" and None mean the server's defaults.

    `audio_only` asks for no event but chunks.
    """

    text: str
    voice: str = ""
    language_code: str = ""
    audio_format: AudioFormat | None = None
    speaking_rate: float = 1.0
    previous_text: str = ""
    audio_only: bool = False


@dataclass(frozen=True)
class Segment:
    """What an engine speaks: clean text that the voice can read, at a rate within the limits."""

    text: str
    voice: Voice
    speaking_rate: float = 1.0
    previous_text: str = ""


@dataclass(frozen=True)
class Started:
    """The request is admitted; the audio that follows has this format."""

    voice: str
    audio_format: AudioFormat


@dataclass(frozen=True)
class Chunk:
    """Encoded audio, whole samples; `offset_s` is that of the first one from the start of the segment."""

    data: bytes
    offset_s: float


@dataclass(frozen=True)
class Completed:
    """All audio has been sent: how much (seconds), how long the engine worked (seconds), for how many characters."""

    audio_s: float
    processing_s: float
    characters: int


Event: TypeAlias = Started | Chunk | Completed


def primary_subtag(language_code: str) -> str:
    """The language of a BCP-47 code in lower case: "en" of "en-US"."""
    return language_code.partition("-")[0].lower()


def matches_range(language_code: str, language_range: str) -> bool:
    """Whether a code lies in a range: "en-US" in "en", but not "en" in "en-US" (basic filtering, RFC 4647, 3.3.1)."""
    code, wanted = language_code.lower(), language_range.lower()
    return not wanted or code == wanted or code.startswith(f"{wanted}-")


def filter_voices(voices: Sequence[Voice], language_range: str) -> tuple[Voice, ...]:
    """The voices with a language in the range; all for ""."""
    return tuple(voice for voice in voices if any(matches_range(code, language_range) for code in voice.language_codes))


def choose_voice(voices: Sequence[Voice], default: str, name: str, language_code: str) -> Voice:
    """The voice that a request means: the named one; without a name the default one, or, where that does not speak the
    language asked for, the first that does.

    Raises:
        VoiceNotFoundError: naming `voice`.
        InvalidArgumentError: naming `language_code`, where the named voice, or every voice, does not speak it.
    """
    by_name = {voice.name: voice for voice in voices}
    chosen = by_name.get(name or default)
    if chosen is None:
        raise VoiceNotFoundError(f"no voice is called {name or default!r}; ListVoices has the names", field="voice")
    if not language_code or chosen.speaks(language_code):
        return chosen
    if name:
        known = ", ".join(chosen.language_codes)
        raise InvalidArgumentError(f"voice {name!r} speaks {known}, not {language_code!r}", field="language_code")
    speakers = [voice for voice in voices if voice.speaks(language_code)]
    if not speakers:
        raise InvalidArgumentError(f"no voice here speaks {language_code!r}", field="language_code")
    return next((voice for voice in speakers if matches_range(voice.language_codes[0], language_code)), speakers[0])


def check_rate(rate: float) -> None:
    """Refuse a speaking rate outside the limits.

    Raises:
        InvalidArgumentError: naming `speaking_rate`.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        shown = f"{rate:g}" if math.isfinite(rate) else "not a number"
        raise InvalidArgumentError(f"{shown} is outside {MIN_RATE:g} to {MAX_RATE:g}", field="speaking_rate")
