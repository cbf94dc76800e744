"""Recognition by any server with OpenAI's `/v1/audio/transcriptions`: OpenAI itself, Groq, speaches, LocalAI, …

Speech is still found here; what is sent is one utterance at a time, as a WAV file. The server's own doubts, where it
tells any (`verbose_json`), pass through the same guards as the local models'. OpenAI's newer models send the text while
they write it (`stream`): the words of a pause are shown as they come. A server that answers in one piece may do so.
"""

import io
import time
import wave
from collections.abc import AsyncIterable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from services.common import openai_api
from services.common.audio import Samples, encode
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError, UpstreamError, UpstreamTimeoutError
from services.stt import languages
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest, Word
from services.stt.engines.base import ListeningEngine
from services.stt.guards import Decoding, Verdict, judge
from services.stt.settings import SttSettings
from services.stt.timebase import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    import openai

NAME = "openai-api"
_PLAIN_MODELS = "gpt-"
"""OpenAI's newer models answer with the text alone, and stream it; Whisper models tell language, doubts and words."""
_FORMAT = AudioFormat(Encoding.PCM_S16LE, SAMPLE_RATE_HZ)


class OpenAiEngine(ListeningEngine):
    """Args:
    settings: where the API is, the key, the model.
    """

    def __init__(self, settings: SttSettings) -> None:
        self._settings = settings
        self.parallel = settings.stt_workers or None
        self._model = settings.model_reference
        self._tells_more = not self._model.startswith(_PLAIN_MODELS)
        self._client: openai.AsyncOpenAI | None = None

    async def load(self) -> None:
        settings = self._settings
        try:
            client = openai_api.client(
                settings.stt_api_base_url,
                settings.stt_api_key,
                "PARLEY_STT_API_KEY",
                timeout_s=settings.stt_api_timeout_s,
                retries=settings.stt_api_max_retries,
            )
            await self._load_detector()
        except ImportError as error:
            message = f"--stt openai-api needs the extra stt-openai-api: {error.name} is not installed"
            raise StartupError(message) from None
        self._client = client

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            self._model,
            NAME,
            languages.WHISPER_CODES,
            supports_word_timings=self._tells_more,
            supports_interim_results=self._settings.stt_api_interim or not self._tells_more,
            recognizes_meanwhile=self._settings.stt_api_interim,
        )

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        return await self.recognize_aloud(samples, request, lambda _: None)

    async def recognize_aloud(
        self, samples: Samples, request: RecognitionRequest, heard: Callable[[Recognition], None]
    ) -> Recognition:
        import httpx2
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
        if not self._tells_more:
            options["stream"] = True
        try:
            async with self._client.audio.transcriptions.with_streaming_response.create(
                file=("audio.wav", wav(samples), "audio/wav"), model=self._model, **options
            ) as response:
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    answer = await _written(await response.parse(), request, heard)
                else:
                    answer = await response.json()
        except openai.OpenAIError as error:
            raise openai_api.explain(error, "transcription", "audio") from None
        except httpx2.TimeoutException:
            raise UpstreamTimeoutError("the transcription provider did not answer in time", retry_after_s=1.0) from None
        except (httpx2.HTTPError, httpx2.StreamError, ValueError):
            raise UpstreamError("the transcription provider broke off its answer", retry_after_s=1.0) from None
        if not isinstance(answer, Mapping):
            raise UpstreamError("the transcription provider gave no answer", retry_after_s=1.0)
        return read(answer, request, time.monotonic() - begun)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()


def create(settings: SttSettings) -> OpenAiEngine:
    """The engine as the settings want it."""
    return OpenAiEngine(settings)


async def _written(
    stream: AsyncIterable[Any], request: RecognitionRequest, heard: Callable[[Recognition], None]
) -> Mapping[str, Any] | None:
    """The text that comes in pieces, which `heard` is told of; None where the end is missing."""
    text = ""
    async for event in stream:
        if event.type == "transcript.text.delta":
            text += event.delta
            heard(Recognition(text.strip(), request.language or "en", quick=True))
        elif event.type == "transcript.text.done":
            return {"text": event.text}
    return None


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
