"""What the service does, without gRPC: recordings and live streams, within the bounds of admission."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from services.common import logs
from services.common.admission import AdmissionQueue
from services.common.audio_format import AudioFormat
from services.common.errors import OverloadedError
from services.common.load import Load, spread
from services.stt.domain import Completed, Event, ModelInfo, StreamOptions, Transcript, TranscriptionOptions
from services.stt.endpointing import Endpointer, EndpointingConfig
from services.stt.listener import ForceEnd, Listener
from services.stt.metrics import SttMetrics
from services.stt.recording import RecordingTranscriber, check_size
from services.stt.schedule import Schedule
from services.stt.segmenter import CountingSegmenter, Segmenter, VoiceSegmenter
from services.stt.settings import SttSettings
from services.stt.turn_end_model import TurnEndModel

log = logging.getLogger(__name__)

_RETRY_AFTER_S = 2.0


class Transcriber:
    """Args:
    schedule: recognizes; its engine is loaded before the first request.
    settings: defaults and limits.
    metrics: where durations go.
    turn_end_model: hears in live streams whether a turn has ended; None: the words alone tell.
    room: what the process has time for; without it the numbers of the settings alone decide.
    """

    def __init__(
        self,
        schedule: Schedule,
        settings: SttSettings,
        metrics: SttMetrics,
        turn_end_model: TurnEndModel | None = None,
        room: Load | None = None,
    ) -> None:
        self._schedule = schedule
        self._turn_end_model = turn_end_model
        self._interim_interval_s = settings.interim_interval_s
        self._metrics = metrics
        self._streams = AdmissionQueue("live streams", running=settings.stt_max_streams, waiting=0, load=room)
        self._recordings = AdmissionQueue(
            "transcriptions", running=settings.stt_max_transcriptions, waiting=settings.stt_max_waiting, load=room
        )
        metrics.watch(
            streams=lambda: self._streams.running,
            load=lambda: schedule.load(self._streams.running),
            transcriptions=lambda: self._recordings.running,
            waiting=lambda: self._recordings.waiting,
        )
        self.endpointing: EndpointingConfig = settings.endpointing
        """What holds where a request says nothing."""
        self.language = settings.language
        """The language of requests that name none."""

    @property
    def info(self) -> ModelInfo:
        """What the engine can do."""
        return self._schedule.info

    async def transcribe(
        self, options: TranscriptionOptions, audio: bytes
    ) -> AsyncGenerator[Transcript | Completed, None]:
        """One recording.

        Raises:
            InvalidArgumentError: naming `audio`: empty, too long, a file, half a sample.
            OverloadedError: where too many wait already.
        """
        check_size(audio, options)
        async with self._recordings.admit():
            segmenter = self._segmenter(options.audio_format, self.endpointing, manual_end=False, counted=True)
            recording = RecordingTranscriber(self._schedule, segmenter, options, self._metrics)
            async with aclosing(recording.transcribe(audio)) as events:
                async for event in events:
                    _log(event)
                    yield event

    async def listen(
        self, options: StreamOptions, incoming: AsyncIterator[bytes | ForceEnd]
    ) -> AsyncGenerator[Event, None]:
        """One live stream.

        Raises:
            OverloadedError: where too many are open already, or the model has no time left for one more.
            UnsupportedAudioError: naming `audio`: a file, half a sample at the end.
        """
        manual_end = options.manual_end
        if not self._schedule.fits(self._streams.running + 1):
            raise OverloadedError("the live streams take all of the model's time", retry_after_s=spread(_RETRY_AFTER_S))
        async with self._streams.admit():
            segmenter = self._segmenter(
                options.transcription.audio_format, options.endpointing, manual_end=manual_end, counted=manual_end
            )
            listener = Listener(
                self._schedule, segmenter, options, self._interim_interval_s, self._metrics, self._turn_end_model
            )
            async with aclosing(listener.listen(incoming)) as events:
                async for event in events:
                    _log(event)
                    yield event

    def _segmenter(
        self, audio_format: AudioFormat, endpointing: EndpointingConfig, *, manual_end: bool, counted: bool
    ) -> Segmenter:
        """`counted`: the borders of speech need not be found, which is enough for an engine that does not listen."""
        if counted and not self._schedule.listens:
            return CountingSegmenter(audio_format)
        endpointer = Endpointer(endpointing, manual_end=manual_end)
        return VoiceSegmenter(audio_format, self._schedule.new_detector(), endpointer)


def _log(event: Event) -> None:
    if logs.content() and isinstance(event, Transcript) and event.is_final:
        log.info("transcript", extra={"utterance_id": event.utterance_id, "text": event.text})
