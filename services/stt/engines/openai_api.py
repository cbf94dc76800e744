"""Recognition by any server with OpenAI's `/v1/audio/transcriptions`: OpenAI itself, Groq, speaches, LocalAI, …

Speech is still found here; what is sent is one utterance at a time, as a WAV file. The server's own doubts, where it
tells any (`verbose_json`), pass through the same guards as the local models'.
"""

import io
import os
import time
import wave
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.common.audio import Samples, encode
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import (
    InvalidArgumentError,
    ModelNotFoundError,
    ParleyError,
    StartupError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)
from services.stt import languages
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest, Word
from services.stt.engines.base import ListeningEngine
from services.stt.guards import Decoding, Verdict, judge
from services.stt.settings import SttSettings
from services.stt.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import openai

NAME = "openai-api"
_KEEP_CONNECTIONS_S = 600.0
"""Between two utterances; the SDK's own 5 s would mean a new TLS handshake for almost each."""
_PLAIN_MODELS = "gpt-"
"""OpenAI's newer models answer with the text alone; Whisper models tell language, doubts and words."""
_FORMAT = AudioFormat(Encoding.PCM_S16LE, SAMPLE_RATE_HZ)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class OpenAiEngine(ListeningEngine):
    """Args:
    settings: where the API is, the key, the model.
    """

    def __init__(self, settings: SttSettings) -> None:
        self._settings = settings
        self._model = settings.model_reference
        self._tells_more = not self._model.startswith(_PLAIN_MODELS)
        self._client: openai.AsyncOpenAI | None = None

    async def load(self) -> None:
        settings = self._settings
        try:
            import openai

            await self._load_detector()
        except ImportError as error:
            message = f"--stt openai-api needs the extra stt-openai-api: {error.name} is not installed"
            raise StartupError(message) from None
        limits = openai.DEFAULT_CONNECTION_LIMITS
        self._client = openai.AsyncOpenAI(
            api_key=_key(settings),
            base_url=settings.stt_api_base_url or None,
            timeout=settings.stt_api_timeout_s,
            max_retries=settings.stt_api_max_retries,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=type(limits)(
                    max_connections=limits.max_connections,
                    max_keepalive_connections=limits.max_keepalive_connections,
                    keepalive_expiry=_KEEP_CONNECTIONS_S,
                )
            ),
        )

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            self._model,
            NAME,
            languages.WHISPER_CODES,
            supports_word_timings=self._tells_more,
            supports_interim_results=self._settings.stt_api_interim,
        )

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        import openai

        if self._client is None:
            raise RuntimeError("the engine is not loaded")
        begun = time.monotonic()
        options: dict[str, Any] = {"response_format": "verbose_json" if self._tells_more else "json"}
        if request.language:
            options["language"] = request.language
        if request.hints:
            options["prompt"] = f"{', '.join(request.hints)}."
        if request.word_timings and self._tells_more:
            options["timestamp_granularities"] = ["word", "segment"]
        try:
            answer = await self._client.audio.transcriptions.create(
                file=("audio.wav", wav(samples), "audio/wav"), model=self._model, **options
            )
        except openai.OpenAIError as error:
            raise explain(error) from None
        return read(answer.model_dump(), request, time.monotonic() - begun)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()


def create(settings: SttSettings) -> OpenAiEngine:
    """The engine as the settings want it."""
    return OpenAiEngine(settings)


def wav(samples: Samples) -> bytes:
    """A WAV file (PCM16, mono, 16 kHz) with these samples in [-1, 1]."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(encode(samples, _FORMAT))
    return file.getvalue()


def read(answer: Mapping[str, Any], request: RecognitionRequest, took_s: float) -> Recognition:
    """What the server heard: its text, unless its own doubts say that nobody spoke."""
    text = str(answer.get("text") or "").strip()
    language = languages.code_of_name(str(answer.get("language") or "")) or request.language or "en"
    segments = [segment for segment in answer.get("segments") or () if isinstance(segment, Mapping)]
    doubts = [
        Decoding(text, float(segment["avg_logprob"]), float(segment["no_speech_prob"]))
        for segment in segments
        if isinstance(segment.get("avg_logprob"), float) and isinstance(segment.get("no_speech_prob"), float)
    ]
    if not text or (doubts and all(judge(doubt, is_retry=True) is Verdict.DROP for doubt in doubts)):
        return Recognition("", language, processing_s=took_s)
    words = tuple(
        Word(str(word["word"]).strip(), float(word["start"]), float(word["end"])) for word in answer.get("words") or ()
    )
    return Recognition(text, language, words=words if request.word_timings else (), processing_s=took_s)


def explain(error: "openai.OpenAIError") -> ParleyError:
    """The error of a failed request, in words of ours: the provider's may name keys and accounts."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return UpstreamTimeoutError("the transcription provider did not answer in time", retry_after_s=1.0)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return UpstreamUnauthenticatedError("the transcription provider refuses this server's credentials")
    if isinstance(error, openai.RateLimitError):
        return UpstreamRateLimitedError("the transcription provider's rate limit is reached", retry_after_s=1.0)
    if isinstance(error, openai.NotFoundError):
        return ModelNotFoundError("the transcription provider does not have this model")
    if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        return InvalidArgumentError("the transcription provider refuses this request", field="audio")
    if isinstance(error, openai.APIConnectionError):
        return UpstreamError("the transcription provider is not reachable", retry_after_s=1.0)
    return UpstreamError("the transcription provider failed", retry_after_s=1.0)


def _key(settings: SttSettings) -> str:
    key = settings.stt_api_key.get_secret_value() if settings.stt_api_key else os.environ.get("OPENAI_API_KEY", "")
    host = urlsplit(settings.stt_api_base_url).hostname or "api.openai.com"
    if not key and host not in _LOOPBACK:
        raise StartupError(f"no API key for {host}: set OPENAI_API_KEY or PARLEY_STT_API_KEY")
    return key or "none"
