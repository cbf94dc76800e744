"""Speech by any server with OpenAI's `/v1/audio/speech`: OpenAI itself, Kokoro-FastAPI, speaches, LocalAI, …

The answer is played as it arrives. Its sample rate is what its WAV header, its content type or `X-Sample-Rate` says;
the rate of the first answer, at the start, becomes the native rate of the voices, and later answers at another are
converted to it.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from email.message import Message
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common import openai_api
from services.common.audio import Decoder, Resampler, Samples
from services.common.audio_format import MAX_RATE_HZ, MIN_RATE_HZ, AudioFormat, Encoding
from services.common.errors import (
    InvalidArgumentError,
    ModelNotFoundError,
    ParleyError,
    StartupError,
    UnsupportedAudioError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)
from services.tts import text as texts
from services.tts.calibration import SAMPLE_TEXTS
from services.tts.domain import ANY_LANGUAGE, Segment, Voice
from services.tts.engines.base import Engine
from services.tts.loudness import gain, levelled
from services.tts.settings import TtsSettings
from services.tts.timescale import TimeScale
from services.tts.wav_stream import WavStream

if TYPE_CHECKING:
    import openai

log = logging.getLogger(__name__)

_PROVIDER = "the speech provider"
_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse")
"""OpenAI's, where the server lists none."""
_PCM_HZ = 24_000
"""Of OpenAI's `pcm`, whose content type tells no rate."""
_LONGEST_PIECE, _FIRST_PIECE = 2000, 300
"""Characters in one request: OpenAI's models take 2,000 tokens or 4,096 characters. Fewer at first: not every server
sends audio before all of it is made.
"""
_COMPRESSED = ("audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/aac", "audio/flac")


class OpenAiEngine(Engine):
    """Args:
    settings: where the API is, the key, the model, the voices.
    """

    name = "openai-api"

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__()
        self._settings = settings
        self._client: openai.AsyncOpenAI | None = None
        self._gain = 1.0

    async def load(self) -> None:
        """Ask for the voices and speak a sentence: the connection is open, the sample rate and the level are known,
        before a user waits.

        A provider that is away at the moment is no reason not to start; one that refuses is.
        """
        settings = self._settings
        try:
            self._client = openai_api.client(
                settings.tts_api_base_url,
                settings.tts_api_key,
                "PARLEY_TTS_API_KEY",
                timeout_s=settings.tts_api_timeout_s,
                retries=settings.tts_api_max_retries,
            )
        except ImportError as error:
            message = f"--tts {self.name} needs the extra tts-openai-api: {error.name} is not installed"
            raise StartupError(message) from None
        names = settings.voice_names or await self._listed_voices()
        if not names:
            names = tuple(dict.fromkeys([settings.tts_voice or _VOICES[0], *_VOICES]))
        self.default_voice = settings.tts_voice if settings.tts_voice in names else names[0]
        rate_hz = await self._native_rate_hz()
        native = AudioFormat(Encoding.PCM_S16LE, rate_hz)
        languages = (settings.tts_language or ANY_LANGUAGE,)
        self.voices = tuple(Voice(name, self.name, languages, native, reads_everything=True) for name in names)

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """Blocks as they arrive. The rate is ours to keep: not every provider honours `speed`."""
        native_hz = segment.voice.native_format.sample_rate_hz
        scale = TimeScale(segment.speaking_rate, native_hz) if segment.speaking_rate != 1 else None

        def scaled(samples: Samples) -> Samples:
            louder = levelled(samples, self._gain)
            return scale.feed(louder) if scale else louder

        for piece in pieces(segment.text):
            resampler = None
            async with contextlib.aclosing(self._speak(piece, segment.voice.name)) as blocks:
                async for rate_hz, samples in blocks:
                    resampler = resampler or Resampler(rate_hz, native_hz)
                    yield scaled(resampler.feed(samples))
            if resampler:
                yield scaled(resampler.feed(np.zeros(0, np.float32), last=True))
        if scale:
            yield scale.finish()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _native_rate_hz(self) -> int:
        try:
            text = SAMPLE_TEXTS[0]
            async with contextlib.aclosing(self._speak(text, self.default_voice)) as blocks:
                heard = [block async for block in blocks]
        except (UpstreamUnauthenticatedError, ModelNotFoundError, InvalidArgumentError) as error:
            raise StartupError(f"--tts {self.name}: {error.message}") from None
        except ParleyError as error:
            log.warning("no speech from the provider yet: %s", error.message)
            return _PCM_HZ
        rate_hz = heard[-1][0]
        self._gain = gain(np.concatenate([samples for _, samples in heard]), rate_hz)
        return rate_hz

    async def _listed_voices(self) -> tuple[str, ...]:
        """The voices that the server lists; OpenAI has no such list, but most servers of that API do."""
        import openai

        if not self._settings.tts_api_base_url:
            return ()
        try:
            return voices_in(await self._connected.get("/audio/voices", cast_to=object))
        except (openai.OpenAIError, ValueError):
            return ()

    async def _speak(self, text: str, voice: str) -> AsyncGenerator[tuple[int, Samples], None]:
        """Sample rate and samples, as they arrive; closing it closes the connection at once."""
        import httpx2
        import openai

        wanted = self._settings.tts_api_response_format
        speech = self._connected.audio.speech.with_streaming_response
        total = 0
        try:
            async with speech.create(
                input=text,
                model=self._settings.model_reference,
                voice=voice,
                response_format=wanted,
                extra_headers={"Accept-Encoding": "identity"},
            ) as response:
                body = body_reader(response.headers, wanted)
                async for data in response.iter_bytes():
                    samples = body.feed(data)
                    total += len(samples)
                    if len(samples) and body.audio_format:
                        yield body.audio_format.sample_rate_hz, samples
                body.finish()
        except openai.OpenAIError as error:
            raise openai_api.explain(error, "speech", "text") from None
        except httpx2.TimeoutException:
            raise UpstreamTimeoutError(f"{_PROVIDER} stopped in mid-speech", retry_after_s=1.0) from None
        except (httpx2.HTTPError, httpx2.StreamError):
            raise UpstreamError(f"{_PROVIDER} broke off", retry_after_s=1.0) from None
        if not total:
            raise UpstreamError(f"{_PROVIDER} sends no audio")

    @property
    def _connected(self) -> "openai.AsyncOpenAI":
        if self._client is None:
            raise RuntimeError("the engine is not loaded")
        return self._client


def pieces(text: str) -> Iterator[str]:
    """Whole sentences, as many as one request takes."""
    gathered, limit = "", _FIRST_PIECE
    for part in (part for sentence in texts.sentences(text) for part in texts.cut(sentence, _LONGEST_PIECE)):
        if gathered and len(gathered) + 1 + len(part) > limit:
            yield gathered
            gathered, limit = "", _LONGEST_PIECE
        gathered = f"{gathered} {part}".lstrip()
    if gathered:
        yield gathered


class PcmStream:
    """Raw 16-bit samples as they arrive, with the face of a `WavStream`."""

    def __init__(self, rate_hz: int) -> None:
        self.audio_format = AudioFormat(Encoding.PCM_S16LE, rate_hz)
        self._decoder = Decoder(self.audio_format)

    def feed(self, data: bytes) -> Samples:
        """The samples in a part.

        Raises:
            UpstreamError: it is an audio file.
        """
        try:
            return self._decoder.feed(data)
        except UnsupportedAudioError:
            raise UpstreamError(f"{_PROVIDER} sends a file instead of pcm") from None

    def finish(self) -> None:
        """Nothing follows.

        Raises:
            UpstreamError: it ended inside a sample.
        """
        try:
            self._decoder.finish()
        except UnsupportedAudioError:
            raise UpstreamError(f"{_PROVIDER} broke off", retry_after_s=1.0) from None


def body_reader(headers: Mapping[str, str], wanted: str) -> WavStream | PcmStream:
    """What reads an answer with these headers, where `wanted` (wav or pcm) was asked for.

    Raises:
        UpstreamError: it is compressed, or its rate is none.
    """
    message = Message()
    message["content-type"] = headers.get("content-type", "")
    kind = message.get_content_type()
    if kind in _COMPRESSED:
        raise UpstreamError(f"{_PROVIDER} sends {kind} instead of {wanted}")
    if wanted == "wav" or "wav" in kind:
        return WavStream(_PROVIDER)
    rate = str(message.get_param("rate") or headers.get("x-sample-rate") or _PCM_HZ)
    if not rate.isdecimal() or not MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ:
        raise UpstreamError(f"{_PROVIDER} sends samples of an unknown kind")
    return PcmStream(int(rate))


def voices_in(answer: Any) -> tuple[str, ...]:
    """Names of the voices in a list, or below "voices" or "data": texts, or objects with "id" or "name"."""
    if isinstance(answer, dict):
        answer = answer.get("voices", answer.get("data"))
    if not isinstance(answer, list):
        return ()
    names = [(item.get("id") or item.get("name")) if isinstance(item, dict) else item for item in answer]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))
