"""Flags of the TTS service."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic.config import JsonDict

from services.common.settings import ServerSettings

_ENGINE: JsonDict = {"group": "speech"}
_API: JsonDict = {"group": "openai-api engine"}
_LIMITS: JsonDict = {"group": "limits"}
_FAKE: JsonDict = {"group": "the fake engine"}

DEFAULT_MODELS = {
    "kokoro": "package:kokoro",
    "piper": "package:piper-joe",
    "transformers": "facebook/mms-tts-eng",
    "openai-api": "gpt-4o-mini-tts",
}


class TtsSettings(ServerSettings):
    """Text to speech over gRPC."""

    port: int = Field(50053, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")
    tts: Literal["hibari", "kokoro", "piper", "espeak-ng", "transformers", "openai-api", "fake"] = Field(
        "hibari",
        description="engine: hibari (neural, embedded), kokoro (neural, many voices), piper (neural, many languages, "
        "a program of its own), espeak-ng (light, more than a hundred languages, a program of its own), transformers "
        "(VITS and MMS models), openai-api (any /v1/audio/speech), fake (a quiet tone, for tests and load)",
        json_schema_extra=_ENGINE,
    )
    tts_model_name: str = Field(
        "",
        description="model of kokoro (a package or a folder), piper (voice files, with commas between them), "
        "transformers (a folder or a hub id) or openai-api (the provider's name)",
        json_schema_extra={**_ENGINE, "default_text": ", ".join(f"{m} for {e}" for e, m in DEFAULT_MODELS.items())},
    )
    tts_language: str = Field(
        "",
        description="language (BCP-47) of the voices of transformers or openai-api",
        json_schema_extra={**_ENGINE, "default_text": "what the model says; any for openai-api"},
    )
    tts_device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="of transformers; auto is cuda where there is one", json_schema_extra=_ENGINE
    )
    tts_voice: str = Field(
        "",
        description="voice of requests that name none",
        json_schema_extra={**_ENGINE, "default_text": "the engine's own"},
    )
    tts_fallback_voice: str = Field(
        "",
        description="who speaks what the voice asked for cannot read: a voice of the engine, or another engine such as "
        "espeak-ng, or a voice of that (espeak-ng/ru); without one, such text is refused",
        json_schema_extra=_ENGINE,
    )
    tts_lexicon: Path | None = Field(
        None,
        description="YAML file of words and how they are said, `SQL: sequel`; a word in lower case stands for any case",
        json_schema_extra=_ENGINE,
    )
    tts_piper_python: str = Field(
        "",
        description="the Python that piper-tts is installed for",
        json_schema_extra={**_ENGINE, "default_text": "the one of `make install-piper`"},
    )
    tts_threads: int = Field(1, ge=1, description="processor threads of a neural engine", json_schema_extra=_ENGINE)
    tts_api_base_url: str = Field(
        "",
        description="address of the API, such as http://127.0.0.1:8880/v1; empty is OpenAI's",
        json_schema_extra=_API,
    )
    tts_api_key: SecretStr | None = Field(
        None, description="key of the API; OPENAI_API_KEY where this is not set", json_schema_extra=_API
    )
    tts_api_voices: str = Field(
        "",
        description="names of its voices, with commas between them, the default one first",
        json_schema_extra={**_API, "default_text": "those that the server lists, else OpenAI's"},
    )
    tts_api_response_format: Literal["wav", "pcm"] = Field(
        "wav",
        description="what is asked for; the rate of pcm is what the content type says, or 24000",
        json_schema_extra=_API,
    )
    tts_api_timeout_s: float = Field(
        10.0, gt=0, description="seconds that the first audio, or the next, may take", json_schema_extra=_API
    )
    tts_api_max_retries: int = Field(
        1,
        ge=0,
        le=10,
        description="further tries before any audio, after a failure that may pass",
        json_schema_extra=_API,
    )
    tts_max_running: int = Field(
        128, ge=1, description="requests that may be spoken at a time", json_schema_extra=_LIMITS
    )
    tts_max_waiting: int = Field(
        256, ge=0, description="requests that may wait for their turn; more are refused", json_schema_extra=_LIMITS
    )
    tts_max_delay_s: float = Field(
        1.0,
        gt=0,
        description="seconds that anybody's audio may come late, by the real-time factor that is measured, before new "
        "answers are refused; for engines whose model is on this machine",
        json_schema_extra=_LIMITS,
    )
    tts_max_characters: int = Field(5000, ge=1, description="longest text of a request", json_schema_extra=_LIMITS)
    fake_tts_delay_ms: float = Field(
        0.0, ge=0, description="milliseconds before the first audio", json_schema_extra=_FAKE
    )
    fake_tts_ms_per_character: float = Field(
        60.0, ge=0, description="milliseconds of audio for each character", json_schema_extra=_FAKE
    )

    @property
    def model_reference(self) -> str:
        """The model as configured, or the engine's default; "" for an engine that has its own."""
        return self.tts_model_name or DEFAULT_MODELS.get(self.tts, "")

    @property
    def voice_names(self) -> tuple[str, ...]:
        """The voices of the API as configured."""
        return tuple(name.strip() for name in self.tts_api_voices.split(",") if name.strip())
