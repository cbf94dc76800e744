"""Who speaks a text in a script that the voice asked for cannot read. Pure."""

import logging
from collections.abc import Sequence

from services.common.errors import StartupError
from services.common.settings import nearest
from services.tts.domain import Voice
from services.tts.scripts import language_of_script

log = logging.getLogger(__name__)


class Fallback:
    """Args:
    reference: a voice, an engine, or "ENGINE/VOICE"; "" for nobody.
    """

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def check(self, voices: Sequence[Voice]) -> None:
        """Raises:
        StartupError: where none of the voices is meant.
        """
        if self._reference and not self._meant(voices):
            hint = nearest(self._reference, [voice.name for voice in voices])
            known = f"; did you mean {hint!r}?" if hint else ", nor an engine"
            raise StartupError(f"--tts_fallback_voice: there is no voice {self._reference!r}{known}")

    def instead_of(self, voice: Voice, script: str, language_code: str, voices: Sequence[Voice]) -> Voice:
        """Who speaks: of the voices that are meant, one of the language asked for, or of the script's; `voice` itself
        where there is none, who will refuse the text.
        """
        able = [other for other in self._meant(voices) if other.scripts is None or script in other.scripts]
        language = language_code if language_code and not voice.speaks(language_code) else language_of_script(script)
        # Those named by one voice alone speak whatever it is.
        speakers = [other for other in able if language and other.speaks(language)] or able
        if not speakers:
            return voice
        log.warning("another voice reads this script", extra={"voice": voice.name, "fallback_voice": speakers[0].name})
        return speakers[0]

    def _meant(self, voices: Sequence[Voice]) -> list[Voice]:
        engine, _, name = self._reference.rpartition("/")
        named = [voice for voice in voices if voice.name == name and engine in ("", voice.engine)]
        return named or [voice for voice in voices if voice.engine == self._reference]
