"""Whether the voices of kokoro are here: they have a target of their own, `make install-voices`."""

from pathlib import Path

from services.common.errors import StartupError
from services.tts.weights import KOKORO, locate_kokoro


def kokoro_installed() -> bool:
    """Joined first, where they are new."""
    try:
        locate_kokoro(KOKORO, Path.home() / ".cache" / "parley")
    except StartupError:
        return False
    return True
