"""Names of OpenAI's that its clients send without being told to: they stand for what this server has."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from orchestrator.domain import SessionConfig
from orchestrator.stages import Services
from services.common.errors import NotFoundError

_MODEL = re.compile(r"gpt-([\w.]+-)*(realtime|audio)(-[\w.]+)*")
_TRANSCRIPTION_MODEL = re.compile(r"whisper-1|gpt-([\w.]+-)*(transcribe|realtime-whisper)(-[\w.]+)*")
_VOICE = re.compile("alloy|ash|ballad|cedar|coral|echo|marin|sage|shimmer|verse")


async def with_names_of_this_server(config: SessionConfig, services: Services) -> SessionConfig:
    """The configuration with the defaults in place of OpenAI's names that the services do not have. What else they do
    not have is left for the session to refuse.
    """
    return replace(
        config,
        llm_model=await _known_or_default(config.llm_model, _MODEL, services.llm.check_model),
        stt_model=await _known_or_default(config.stt_model, _TRANSCRIPTION_MODEL, services.stt.check_model),
        voice=await _known_or_default(config.voice, _VOICE, services.tts.check_voice),
    )


async def _known_or_default(name: str, openai: re.Pattern[str], check: Callable[[str], Awaitable[None]]) -> str:
    if openai.fullmatch(name):
        try:
            await check(name)
        except NotFoundError:
            return ""
    return name
