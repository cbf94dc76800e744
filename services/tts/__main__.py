"""`python -m services.tts`: the TTS server."""

from services.common.server import main as serve
from services.common.settings import load_or_exit
from services.tts.service import TtsService
from services.tts.settings import TtsSettings


def main() -> None:
    """Read the settings and serve until a signal."""
    settings = load_or_exit(TtsSettings, "parley-tts")
    serve(TtsService(settings), settings)


if __name__ == "__main__":
    main()
