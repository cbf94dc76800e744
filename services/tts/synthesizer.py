"""From a request to its events: checks, a place in the queue, the engine, chunks."""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator

from prometheus_client import CollectorRegistry

from services.common import logs, tracing
from services.common.admission import AdmissionQueue
from services.common.errors import StartupError
from services.common.settings import nearest
from services.tts import text as texts
from services.tts.chunks import Chunker
from services.tts.domain import (
    Completed,
    Event,
    Segment,
    Started,
    SynthesisRequest,
    Voice,
    check_rate,
    choose_voice,
    filter_voices,
)
from services.tts.engines.base import Engine
from services.tts.fallback import Fallback
from services.tts.metrics import OPERATION, Onset, TtsMetrics
from services.tts.reading import as_said
from services.tts.reading.lexicon import NO_LEXICON, Lexicon

log = logging.getLogger(__name__)


class Synthesizer:
    """What the service does, without gRPC.

    Args:
        engine: speaks.
        admission: bounds the requests at work.
        default_voice: of requests that name none; "" for the engine's own.
        fallback_voice: who speaks what the voice cannot read, as `--tts_fallback_voice` has it; "" for nobody.
        lexicon: how words are to be said.
        max_characters: longest text of a request.
        metrics: where durations go; without any, nowhere.
    """

    def __init__(
        self,
        engine: Engine,
        admission: AdmissionQueue,
        *,
        default_voice: str,
        fallback_voice: str = "",
        lexicon: Lexicon = NO_LEXICON,
        max_characters: int,
        metrics: TtsMetrics | None = None,
    ) -> None:
        self._metrics = metrics or TtsMetrics(CollectorRegistry())
        self._metrics.watch(lambda: admission.running, lambda: admission.waiting)
        self._engine = engine
        self._admission = admission
        self._default_voice = default_voice
        self._fallback = Fallback(fallback_voice)
        self._lexicon = lexicon
        self._max_characters = max_characters

    async def load(self) -> None:
        """Load the engine.

        Raises:
            StartupError: where it does not load, or lacks the default voice.
        """
        await self._engine.load()
        self._fallback.check(self._engine.voices)
        names = [voice.name for voice in self._engine.voices]
        if self._default_voice and self._default_voice not in names:
            hint = nearest(self._default_voice, names)
            raise StartupError(
                f"--tts_voice: {self._engine.name} has no voice {self._default_voice!r}"
                + (f"; did you mean {hint!r}?" if hint else f"; it has {', '.join(names[:20])}")
            )

    async def aclose(self) -> None:
        """Let go of the engine."""
        await self._engine.aclose()

    def voices(self, language_range: str) -> tuple[Voice, ...]:
        """The voices with a language in the range; all for ""."""
        return filter_voices(self._engine.voices, language_range)

    async def synthesize(self, request: SynthesisRequest) -> AsyncGenerator[Event, None]:
        """Started, chunks, Completed; or chunks alone. Text without a letter or a digit ("…") is spoken as no audio.

        Raises:
            InvalidArgumentError, NotFoundError: naming the field at fault.
            OverloadedError: where too many wait already.
        """
        segment = self._segment(request)
        self._engine.check_room(segment)
        audio_format = request.audio_format or segment.voice.native_format
        onset = Onset(self._metrics, segment.voice.native_format.sample_rate_hz)
        span = tracing.current()
        span.set(tracing.of_model(OPERATION, segment.voice.engine) | {"gen_ai.output.type": "speech"})
        span.set({"parley.tts.voice": segment.voice.name, "parley.tts.characters": len(request.text)})
        if tracing.content():
            span.set({"parley.tts.text": request.text})
        if logs.content():
            log.info("speech", extra={"voice": segment.voice.name, "text": request.text})
        async with self._admission.admit():
            self._metrics.admitted(len(request.text))
            span.event("engine began")
            if not request.audio_only:
                yield Started(segment.voice.name, audio_format)
            # What follows on other speech is heard after it: no need for a first chunk sooner than the others.
            follows = bool(request.previous_text)
            chunker = Chunker(segment.voice.native_format.sample_rate_hz, audio_format, short_first=not follows)
            processing_s = 0.0
            if texts.has_speech(segment.text):
                async with contextlib.aclosing(self._engine.synthesize(segment)) as blocks:
                    begun = time.monotonic()
                    async for samples in blocks:
                        processing_s += time.monotonic() - begun
                        onset.made(samples)
                        for chunk in chunker.feed(samples):
                            onset.sent()
                            yield chunk
                        begun = time.monotonic()
            else:
                self._metrics.left_out("no_words", len(request.text))
                log.info("there is nothing to say in this text", extra={"voice": segment.voice.name})
            for chunk in chunker.finish():
                onset.sent()
                yield chunk
            self._metrics.spoken(chunker.audio_s, processing_s)
            span.set({"parley.tts.audio_s": chunker.audio_s, "parley.tts.processing_s": processing_s})
            if not request.audio_only:
                yield Completed(chunker.audio_s, processing_s, len(request.text))

    def _segment(self, request: SynthesisRequest) -> Segment:
        texts.check_text(request.text, self._max_characters)
        check_rate(request.speaking_rate)
        default = self._default_voice or self._engine.default_voice
        voice = choose_voice(self._engine.voices, default, request.voice, request.language_code)
        text = texts.clean(request.text)
        if script := texts.foreign_script(text, voice):
            voice = self._fallback.instead_of(voice, script, request.language_code, self._engine.voices)
        text = self._lexicon.apply(text)
        if not voice.reads_everything:
            text = as_said(text, request.language_code or voice.language_codes[0])
        readable = texts.readable_by(text, voice)
        if readable != text:
            self._metrics.left_out("letters", sum(map(str.isalpha, text)) - sum(map(str.isalpha, readable)))
            log.warning("letters of other scripts are left out", extra={"voice": voice.name})
        return Segment(readable, voice, request.speaking_rate, request.previous_text)
