"""Whether the voices that have make targets of their own are here."""

from pathlib import Path

from services.common.errors import StartupError
from services.tts.engines.piper import INSTALLED
from services.tts.weights import KOKORO, locate_kokoro


def kokoro_installed() -> bool:
    """After `make install-voices`; joined first, where it is new."""
    try:
        locate_kokoro(KOKORO, Path.home() / ".cache" / "parley")
    except StartupError:
        return False
    return True


def piper_installed() -> bool:
    """After `make install-piper`."""
    return (INSTALLED / "bin" / "python").is_file()
