"""Flags of the TTS service."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from services.common.settings import ServerSettings

_ENGINE: JsonDict = {"group": "speech"}
_LIMITS: JsonDict = {"group": "limits"}
_FAKE: JsonDict = {"group": "the fake engine"}


class TtsSettings(ServerSettings):
    """Text to speech over gRPC."""

    port: int = Field(50053, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")
    tts: Literal["hibari", "espeak-ng", "fake"] = Field(
        "hibari",
        description="engine: hibari (neural, embedded), espeak-ng (light, many languages, needs the program of that "
        "name), fake (a quiet tone, for tests and load)",
        json_schema_extra=_ENGINE,
    )
    tts_voice: str = Field(
        "",
        description="voice of requests that name none",
        json_schema_extra={**_ENGINE, "default_text": "the engine's own"},
    )
    tts_threads: int = Field(1, ge=1, description="processor threads of a neural engine", json_schema_extra=_ENGINE)
    tts_max_running: int = Field(
        128, ge=1, description="requests that may be spoken at a time", json_schema_extra=_LIMITS
    )
    tts_max_waiting: int = Field(
        256, ge=0, description="requests that may wait for their turn; more are refused", json_schema_extra=_LIMITS
    )
    tts_max_characters: int = Field(5000, ge=1, description="longest text of a request", json_schema_extra=_LIMITS)
    fake_tts_delay_ms: float = Field(
        0.0, ge=0, description="milliseconds before the first audio", json_schema_extra=_FAKE
    )
    fake_tts_ms_per_character: float = Field(
        60.0, ge=0, description="milliseconds of audio for each character", json_schema_extra=_FAKE
    )
