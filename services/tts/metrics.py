"""What the TTS service counts, beside what every server does."""

import time
from collections.abc import Callable

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry

from services.common import tracing
from services.common.audio import Samples
from services.common.instruments import Counter, Gauge, Histogram
from services.common.metrics import FACTOR_BUCKETS, SECONDS_BUCKETS

OPERATION = "text_to_speech"
"""`gen_ai.operation.name` of synthesis, for which the conventions have no name of their own."""
AUDIBLE = 0.001
"""-60 dB of full scale: a sample as loud as this is heard as the beginning of speech."""


class TtsMetrics:
    """How soon speech is there, how fast it is made, how much of it."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.first_byte = Histogram(
            "parley_tts_time_to_first_byte_seconds",
            "Time from a request to its first audio, waiting for a place included.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self.first_audible = Histogram(
            "parley_tts_time_to_first_audible_sample_seconds",
            "Time from a request to its first audible sample, for who plays the audio as it comes.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._factor = Histogram(
            "parley_tts_real_time_factor",
            "Time in the engine for a second of audio, by request.",
            buckets=FACTOR_BUCKETS,
            registry=registry,
        )
        self._characters = Counter("parley_tts_characters_total", "Characters to speak.", registry=registry)
        self._left_out = Counter(
            "parley_tts_characters_left_out_total",
            "Characters that nobody heard: letters that the voice cannot read (letters), texts without a letter or a "
            "digit, such as emoji (no_words).",
            ["reason"],
            registry=registry,
        )
        self._audio = Counter("parley_tts_audio_seconds_total", "Audio made.", registry=registry)
        self._active = Gauge("parley_tts_active_streams", "Requests being spoken.", registry=registry)
        self._waiting = Gauge("parley_tts_requests_waiting", "Requests that wait for a place.", registry=registry)

    def watch(self, active: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Ask for the requests at work and waiting whenever metrics are read."""
        self._active.set_function(active)
        self._waiting.set_function(waiting)

    def admitted(self, characters: int) -> None:
        """A text of so many characters is going to be spoken."""
        self._characters.inc(characters)

    def left_out(self, reason: str, characters: int) -> None:
        """So many characters are not going to be heard."""
        self._left_out.labels(reason).inc(characters)

    def spoken(self, audio_s: float, processing_s: float) -> None:
        """A request has its audio, so many seconds; the engine worked so long."""
        self._audio.inc(audio_s)
        if audio_s > 0:
            self._factor.observe(processing_s / audio_s)


class Onset:
    """When the audio of one request begins, and when it begins to be heard.

    Args:
        rate_hz: of the samples.
        clock: seconds, monotonic.
    """

    def __init__(self, metrics: TtsMetrics, rate_hz: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._rate_hz, self._clock = metrics, rate_hz, clock
        self._asked_at = clock()
        self._playing_at: float | None = None
        self._played_s = 0.0
        self._heard = False

    def sent(self) -> None:
        """A chunk goes to the client, who plays the first one at once."""
        if self._playing_at is None:
            self._playing_at = self._clock()
            self._metrics.first_byte.observe(self._playing_at - self._asked_at)
            tracing.current().event("first audio")

    def made(self, samples: Samples) -> None:
        """The engine gives these samples, which are sent now."""
        if self._heard:
            return
        loud = np.abs(samples) >= AUDIBLE
        first = int(loud.argmax()) if len(samples) else 0
        if len(samples) and loud[first]:
            self._heard = True
            now = self._clock()
            # They are played when they come, or when what came before has been played.
            due = now if self._playing_at is None else max(now, self._playing_at + self._played_s)
            audible_at = due + first / self._rate_hz
            self._metrics.first_audible.observe(audible_at - self._asked_at)
            tracing.current().event("first audible sample", at=audible_at)
        self._played_s += len(samples) / self._rate_hz
