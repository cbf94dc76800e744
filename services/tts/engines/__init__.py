"""The engines, imported only when chosen."""

from services.tts.engines.base import Engine
from services.tts.settings import TtsSettings


def build(settings: TtsSettings) -> Engine:
    """The engine of `--tts`, not yet loaded."""
    match settings.tts:
        case "hibari":
            from services.tts.engines.hibari import HibariEngine

            return HibariEngine(settings)
        case "kokoro":
            from services.tts.engines.kokoro import KokoroEngine

            return KokoroEngine(settings)
        case "piper":
            from services.tts.engines.piper import PiperEngine

            return PiperEngine(settings)
        case "espeak-ng":
            from services.tts.engines.espeak_ng import EspeakNgEngine

            return EspeakNgEngine()
        case "transformers":
            from services.tts.engines.transformers import TransformersEngine

            return TransformersEngine(settings)
        case "openai-api":
            from services.tts.engines.openai_api import OpenAiEngine

            return OpenAiEngine(settings)
        case "fake":
            from services.tts.engines.fake import FakeEngine

            return FakeEngine(
                delay_s=settings.fake_tts_delay_ms / 1000, s_per_character=settings.fake_tts_ms_per_character / 1000
            )
