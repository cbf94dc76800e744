"""The flags of the STT service."""

from typing import Any, Literal

from pydantic import Field, SecretStr

from services.common.settings import ServerSettings
from services.stt.endpointing import LIMITS_S, EndpointingConfig, SecondsField


def _flag(default: Any, group: str, description: str, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"group": group}, **limits)


_RECOGNITION, _ENDPOINTING, _ADMISSION, _FAKE = "recognition", "endpointing", "admission", "fake engine"
_API = "openai-api engine"

DEFAULT_MODELS = {
    "faster-whisper": "package:whisper-base",
    "transformers": "package:whisper-base",
    "openai-api": "gpt-4o-mini-transcribe",
    "fake": "fake",
}

SOFT_SILENCE_S, PAID_SOFT_SILENCE_S = EndpointingConfig.soft_silence_s, 0.096
"""What is computed in vain costs time, or money (decision 053)."""

ComputeType = Literal[
    "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"
]


def _seconds(name: SecondsField, default: float, description: str) -> Any:
    low, high = LIMITS_S[name]
    return _flag(default, _ENDPOINTING, description, ge=low, le=high)


class SttSettings(ServerSettings):
    """Speech to text over gRPC."""

    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 takes a free one and logs it")

    stt: Literal["faster-whisper", "transformers", "openai-api", "fake"] = _flag(
        "faster-whisper", _RECOGNITION, "engine"
    )
    language: str = _flag("en", _RECOGNITION, "language of requests that name none (BCP-47), or auto to detect it")
    stt_model_name: str = Field(
        "",
        description="model of final transcripts: package:NAME, a folder, a size, a hub id, or the provider's name",
        json_schema_extra={
            "group": _RECOGNITION,
            "default_text": f"{DEFAULT_MODELS['openai-api']} for openai-api, else {DEFAULT_MODELS['faster-whisper']}",
        },
    )
    stt_interim_model_name: str = _flag(
        "package:whisper-tiny.en",
        _RECOGNITION,
        "model of transcripts while the user speaks, where it knows the language; empty is the model of final ones",
    )
    stt_device: Literal["auto", "cpu", "cuda"] = _flag("auto", _RECOGNITION, "auto is cuda where there is one")
    stt_compute_type: ComputeType = _flag("auto", _RECOGNITION, "precision; auto is int8 on a CPU and float16 on CUDA")
    stt_threads: int = _flag(
        0, _RECOGNITION, "CPU threads of one recognition; 0 is half of the processors, up to 4", ge=0, le=64
    )
    stt_workers: int = _flag(
        0,
        _RECOGNITION,
        "recognitions at a time: of faster-whisper, where 0 is as the processors allow, one on CUDA; or requests to "
        "openai-api, where 0 is any number",
        ge=0,
        le=64,
    )
    interim_interval_s: float = _flag(
        0.5, _RECOGNITION, "seconds of audio between two transcripts of an utterance being spoken", ge=0.1, le=10
    )

    stt_api_base_url: str = _flag("", _API, "address of the API, such as http://127.0.0.1:8000/v1; empty is OpenAI's")
    stt_api_key: SecretStr | None = _flag(None, _API, "key of the API; OPENAI_API_KEY where this is not set")
    stt_api_timeout_s: float = _flag(10.0, _API, "seconds that a transcription may take", gt=0)
    stt_api_max_retries: int = _flag(1, _API, "further tries after a failure that may pass", ge=0, le=10)
    stt_api_interim: bool = _flag(False, _API, "transcripts while the user speaks; each is a request to the API")

    endpoint_speech_threshold: float = _flag(0.5, _ENDPOINTING, "speech probability at which speech starts", ge=0, le=1)
    endpoint_silence_s: float = _seconds("end_silence", 0.5, "seconds of silence that end an utterance")
    endpoint_min_silence_s: float = _seconds(
        "min_end_silence", 0.3, "seconds of silence that end an utterance which sounds finished, such as a sentence"
    )
    endpoint_max_silence_s: float = _seconds(
        "max_end_silence", 1.2, "seconds of silence that end one which sounds unfinished: after 'and', within a number"
    )
    endpoint_soft_silence_s: float | None = Field(
        None,
        description="seconds of silence after which the final transcript is computed ahead; 0 is never",
        json_schema_extra={
            "group": _ENDPOINTING,
            "default_text": f"{SOFT_SILENCE_S}; {PAID_SOFT_SILENCE_S} where each is a request to openai-api",
        },
        ge=0,
        le=10,
    )
    endpoint_min_speech_s: float = _seconds("min_speech", 0.12, "shorter speech is ignored (seconds)")
    endpoint_prefix_padding_s: float = _seconds(
        "prefix_padding", 0.3, "seconds of audio kept from before the detected start of speech"
    )
    endpoint_max_utterance_s: float = _seconds(
        "max_utterance", 25.0, "an utterance is closed after so many seconds, and the next begins there"
    )

    turn_end_model: str = _flag(
        *("", _ENDPOINTING, "model that hears whether a turn has ended: smart-turn or an .onnx file; empty is none")
    )

    stt_max_streams: int = _flag(
        128, _ADMISSION, "live streams at a time, where the model has time for so many; more are refused", ge=1
    )
    stt_idle_timeout_s: float = _flag(
        600.0,
        _ADMISSION,
        "seconds without a message after which a live stream ends as if its client had half-closed it; 0 is never",
        ge=0,
    )
    stt_max_transcriptions: int = _flag(8, _ADMISSION, "Transcribe calls at work at a time", ge=1)
    stt_max_waiting: int = _flag(64, _ADMISSION, "Transcribe calls that may wait; more are refused", ge=0)

    fake_transcript: str = _flag("This is a fake transcript.", _FAKE, "what every utterance is heard as")
    fake_stt_delay_ms: float = _flag(0.0, _FAKE, "how long each recognition takes (milliseconds)", ge=0)

    @property
    def model_reference(self) -> str:
        """The model as configured, or the engine's default."""
        return self.stt_model_name or DEFAULT_MODELS[self.stt]

    @property
    def endpointing(self) -> EndpointingConfig:
        """What holds where a request says nothing."""
        soft_silence_s = self.endpoint_soft_silence_s
        if soft_silence_s is None:
            soft_silence_s = PAID_SOFT_SILENCE_S if self.stt == "openai-api" else SOFT_SILENCE_S
        return EndpointingConfig(
            speech_threshold=self.endpoint_speech_threshold,
            end_silence_s=self.endpoint_silence_s,
            min_end_silence_s=min(self.endpoint_min_silence_s, self.endpoint_silence_s),
            max_end_silence_s=max(self.endpoint_max_silence_s, self.endpoint_silence_s),
            soft_silence_s=soft_silence_s,
            min_speech_s=self.endpoint_min_speech_s,
            prefix_padding_s=self.endpoint_prefix_padding_s,
            max_utterance_s=self.endpoint_max_utterance_s,
        )
