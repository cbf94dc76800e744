"""A whole recording at once: find the speech in it, pack it into windows, recognize them one after another."""

import asyncio
from collections.abc import AsyncGenerator

from services.common.audio import Samples
from services.common.errors import AudioTooLongError, InvalidArgumentError
from services.stt.domain import (
    MAX_RECORDING_BYTES,
    MAX_RECORDING_S,
    Completed,
    Recognition,
    Transcript,
    TranscriptionOptions,
)
from services.stt.endpointing import SegmentEnded
from services.stt.metrics import SttMetrics
from services.stt.schedule import Schedule
from services.stt.segmenter import Segmenter
from services.stt.timebase import to_seconds
from services.stt.utterance import Utterance
from services.stt.windows import Span, pack

_SLICE_S = 0.25


def check_size(audio: bytes, options: TranscriptionOptions) -> None:
    """Refuse what is no recording that one request may carry.

    Raises:
        InvalidArgumentError: where there is nothing in it.
        AudioTooLongError: where it is too long.
    """
    if not audio:
        raise InvalidArgumentError("is empty", field="audio")
    if len(audio) > MAX_RECORDING_BYTES:
        message = f"has {len(audio)} bytes; at most {MAX_RECORDING_BYTES} fit one request, stream what is longer"
        raise AudioTooLongError(message, field="audio")
    seconds = len(audio) / options.audio_format.bytes_per_second
    if seconds > MAX_RECORDING_S:
        message = f"lasts {seconds:.1f} s; at most {MAX_RECORDING_S:.0f} s fit one request, stream what is longer"
        raise AudioTooLongError(message, field="audio")


class RecordingTranscriber:
    """Args:
    schedule: recognizes.
    segmenter: finds the speech of this recording; must end segments at silences by itself.
    options: what the client asked for.
    metrics: where durations go.
    """

    def __init__(
        self, schedule: Schedule, segmenter: Segmenter, options: TranscriptionOptions, metrics: SttMetrics
    ) -> None:
        self._schedule = schedule
        self._segmenter = segmenter
        self._options = options
        self._metrics = metrics
        self._processing_s = 0.0

    async def transcribe(self, audio: bytes) -> AsyncGenerator[Transcript | Completed, None]:
        """Interim transcripts if asked for, the final one, and the end.

        Raises:
            UnsupportedAudioError: naming `audio`, for a file header or a part of a sample at the end.
        """
        windows = pack(await self._speech(audio))
        utterance = Utterance(self._options, windows[0].onset if windows else 0)
        for window in windows:
            samples = self._segmenter.samples(window.start, window.end)
            if self._options.interim_results and self._schedule.info.recognizes_meanwhile:
                heard = await self._schedule.interim(samples.view, utterance.request)
                if heard is not None:
                    self._recognized(heard, samples, interim=True)
                    interim = utterance.interim(heard, window.start, window.speech_end)
                    if interim.text:
                        yield interim
            utterance.speech_end = window.speech_end
            recognition = await self._schedule.final(samples, utterance.request)
            self._recognized(recognition, samples, interim=False)
            utterance.add(recognition, window.start, window.onset, window.speech_end)
        yield utterance.final()
        yield Completed(self._schedule.info.name, to_seconds(self._segmenter.position), self._processing_s)

    async def _speech(self, audio: bytes) -> list[Span]:
        """The stretches of speech; the work is done in slices, so that others get their turn on the event loop."""
        step = max(1, int(self._options.audio_format.bytes_per_second * _SLICE_S))
        events = []
        for at in range(0, len(audio), step):
            events += self._segmenter.feed(audio[at : at + step])
            await asyncio.sleep(0)
        audio_s = to_seconds(self._segmenter.position)
        self._metrics.received(audio_s)
        self._schedule.heard(audio_s)
        events += self._segmenter.flush()
        self._segmenter.finish()
        return [
            Span(event.start, event.onset, event.speech_end, event.end)
            for event in events
            if isinstance(event, SegmentEnded)
        ]

    def _recognized(self, recognition: Recognition, samples: Samples, *, interim: bool) -> None:
        audio_s = to_seconds(len(samples))
        self._metrics.recognized(self._schedule.info, recognition.processing_s, audio_s, interim=interim)
        self._processing_s += recognition.processing_s
