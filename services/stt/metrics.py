"""What the STT service counts, beside what every server does."""

import time
from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry

from services.common import tracing
from services.common.instruments import Counter, Gauge, Histogram
from services.common.metrics import FACTOR_BUCKETS, SECONDS_BUCKETS
from services.stt.domain import ModelInfo

OPERATION = "speech_to_text"
"""`gen_ai.operation.name` of recognition, for which the conventions have no name of their own."""


class SttMetrics:
    """How soon words are known, the time spent in the model, and how often a transcript computed ahead was of use."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def seconds(name: str, text: str, labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, text, labels, buckets=SECONDS_BUCKETS, registry=registry)

        self._first_interim = seconds(
            "parley_stt_time_to_first_interim_seconds",
            "Time from the beginning of speech to its first interim transcript.",
        )
        self._endpointing = seconds(
            "parley_stt_endpointing_delay_seconds", "Time from the end of speech to the decision that it has ended."
        )
        self._finalization = seconds(
            "parley_stt_finalization_delay_seconds",
            "Time from the end of speech (or the client's word that it has ended) to the final transcript.",
        )
        self._recognitions = seconds(
            "parley_stt_recognition_duration_seconds", "Time in the model for one stretch of audio.", ("kind",)
        )
        self._factor = Histogram(
            "parley_stt_real_time_factor",
            "Time in the model for a second of audio, by recognition.",
            ("kind",),
            buckets=FACTOR_BUCKETS,
            registry=registry,
        )
        self._audio = Counter("parley_stt_audio_seconds_total", "Audio received.", registry=registry)
        self._active = Gauge("parley_stt_active_streams", "Live streams.", registry=registry)
        self._load = Gauge(
            "parley_stt_load_ratio",
            "Share of the model's time that the live streams need for their final transcripts, as measured.",
            registry=registry,
        )
        self._transcriptions = Gauge(
            "parley_stt_transcriptions_running", "Recordings being transcribed.", registry=registry
        )
        self._waiting = Gauge(
            "parley_stt_transcriptions_waiting", "Recordings that wait for a place.", registry=registry
        )
        self._interims = Counter(
            "parley_stt_interims_stopped_total",
            "Interim recognitions that made way for a final one.",
            registry=registry,
        )
        self._ahead = Counter(
            "parley_stt_recognitions_ahead_total",
            "Recognitions begun at a soft silence, by what became of them.",
            ("outcome",),
            registry=registry,
        )

    def watch(
        self,
        *,
        streams: Callable[[], int],
        load: Callable[[], float],
        transcriptions: Callable[[], int],
        waiting: Callable[[], int],
    ) -> None:
        """Ask for what is at work and waiting whenever metrics are read."""
        self._active.set_function(streams)
        self._load.set_function(load)
        self._transcriptions.set_function(transcriptions)
        self._waiting.set_function(waiting)

    def received(self, audio_s: float) -> None:
        """So many seconds of audio have come."""
        self._audio.inc(audio_s)

    def first_interim(self, seconds: float) -> None:
        """The first interim transcript of an utterance, so long after its speech had begun."""
        self._first_interim.observe(max(0.0, seconds))

    def ended(self, seconds: float) -> None:
        """Speech was found to have ended so many seconds before."""
        self._endpointing.observe(max(0.0, seconds))

    def finalized(self, seconds: float) -> None:
        """The final transcript of an utterance, so long after its end."""
        self._finalization.observe(max(0.0, seconds))

    def recognized(self, model: ModelInfo, seconds: float, audio_s: float, *, interim: bool) -> None:
        """A recognition of so much audio took so many seconds in the model."""
        kind = "interim" if interim else "final"
        self._recognitions.labels(kind).observe(seconds)
        if audio_s > 0:
            self._factor.labels(kind).observe(seconds / audio_s)
        attributes = tracing.of_model(OPERATION, model.engine, model.name)
        attributes |= {"parley.stt.kind": kind, "parley.stt.audio_s": audio_s}
        tracing.begin("recognize", attributes, at=time.monotonic() - seconds).end()

    def interim_stopped(self) -> None:
        """An interim recognition made way for a final one."""
        self._interims.inc()

    def ahead(self, *, adopted: bool) -> None:
        """A recognition begun at a soft silence became the final one, or was dropped since the speaker went on."""
        self._ahead.labels("adopted" if adopted else "dropped").inc()
