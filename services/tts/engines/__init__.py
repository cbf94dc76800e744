"""The engines, imported only when chosen."""

from typing import get_args

from services.tts.engines.base import Engine
from services.tts.settings import TtsSettings

_NAMES: tuple[str, ...] = get_args(TtsSettings.model_fields["tts"].annotation)


def build(settings: TtsSettings) -> Engine:
    """The engine of `--tts`, and with it the one of `--tts_fallback_voice` where that is another; not yet loaded."""
    engine = _build(settings)
    other = settings.tts_fallback_voice.partition("/")[0]
    if other not in _NAMES or other == settings.tts:
        return engine
    from services.tts.engines.with_fallback import WithFallback

    return WithFallback(engine, _build(settings.model_copy(update={"tts": other, "tts_model_name": ""})))


def _build(settings: TtsSettings) -> Engine:
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
