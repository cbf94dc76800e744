"""When to recognize the segment being spoken: now and then (interim transcripts), ahead at a soft silence, at its end.

The final transcript is what the user waits for. So it is computed *ahead*: at a soft silence the segment so far is
recognized, and if the silence lasts until the endpoint, that result is the final one and is there at once. If the
speaker goes on it is dropped. What was recognized also says how long to wait: shortly after a whole sentence. A
turn-end model, where there is one, listens at the same time; nothing ever waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from services.common.audio import Samples
from services.stt import turn_end
from services.stt.domain import Recognition, RecognitionRequest, StreamOptions, Transcript
from services.stt.metrics import SttMetrics
from services.stt.owned_tasks import OwnedTasks
from services.stt.schedule import Schedule
from services.stt.segmenter import Segmenter
from services.stt.timebase import FRAME_SAMPLES, to_samples, to_seconds
from services.stt.turn_end_model import TurnEndModel
from services.stt.utterance import Utterance

log = logging.getLogger(__name__)

_SILENCE = 2 * FRAME_SAMPLES
"""So long after the last speech, in samples, it is a silence: one frame and the beginning of the next are not."""


@dataclass
class _Segment:
    """The segment being spoken, and what is being recognized of it."""

    utterance: Utterance
    start: int
    interim_at: int
    interim: "asyncio.Task[None] | None" = None
    ahead: "asyncio.Task[Recognition] | None" = None
    ahead_end: int = 0
    at_pause: tuple[str, str] | None = None
    """What was said up to the pause, and its language."""
    turn_end: "asyncio.Task[None] | None" = None


class SegmentRecognizer:
    """Args:
    schedule: recognizes.
    segmenter: has the audio.
    tasks: own what is started here.
    options: what the client asked for.
    emit: sends a transcript.
    interim_interval_s: seconds of audio between two of them.
    metrics: where durations go.
    turn_end_model: hears at a pause whether the turn has ended; None: the words alone tell.
    """

    def __init__(
        self,
        schedule: Schedule,
        segmenter: Segmenter,
        tasks: OwnedTasks,
        options: StreamOptions,
        emit: Callable[[Transcript], Awaitable[None]],
        interim_interval_s: float,
        metrics: SttMetrics,
        turn_end_model: TurnEndModel | None = None,
    ) -> None:
        self._turn_end_model = turn_end_model
        self._schedule = schedule
        self._segmenter = segmenter
        self._tasks = tasks
        self._options = options
        self._wants_interim = options.transcription.interim_results and schedule.info.supports_interim_results
        self._emit = emit
        self._interim_interval = to_samples(interim_interval_s)
        self._metrics = metrics
        self._segment: _Segment | None = None
        self._last_interim = ("", 0)
        self.finals_due = 0
        """Segments that have ended and whose text is not known yet."""
        self.processing_s = 0.0
        """Time spent in the model."""

    def begin(self, utterance: Utterance, start: int, onset: int) -> None:
        """A segment of an utterance begins: its audio at sample `start`, its speech at `onset`."""
        utterance.turn_end_probability = None
        self._segment = _Segment(utterance, start, interim_at=onset)

    def pause(self, end: int) -> None:
        """The segment has probably ended: recognize it ahead."""
        segment = self._segment
        if segment is None:
            return
        if segment.interim is not None and not segment.interim.done():
            segment.interim.cancel()
            segment.interim_at = self._segmenter.position - self._interim_interval  # due as soon as the speaker goes on
        segment.ahead_end = end
        samples = self._segmenter.samples(segment.start, end)
        segment.ahead = self._tasks.spawn(self._recognize_ahead(segment, samples))
        if self._turn_end_model is not None:
            segment.turn_end = self._tasks.spawn(self._hear_turn_end(self._turn_end_model, segment, samples))

    def resume(self) -> None:
        """It has not: drop what was begun."""
        segment = self._segment
        if segment is not None and segment.ahead is not None:
            self._metrics.ahead(adopted=False)
            _cancel(segment.ahead)
            _cancel(segment.turn_end)
            segment.ahead = segment.at_pause = segment.utterance.turn_end_probability = None

    def end(self, end: int) -> "asyncio.Task[Recognition]":
        """The segment has ended at sample `end`: the task that knows its text, begun already if all went well."""
        segment, self._segment = self._segment, None
        if segment is None:
            raise RuntimeError("no segment is open")
        self.finals_due += 1
        _cancel(segment.interim)
        _cancel(segment.turn_end)
        if segment.ahead is not None:
            adopted = segment.ahead_end == end
            self._metrics.ahead(adopted=adopted)
            if adopted:
                return segment.ahead
            _cancel(segment.ahead)
        samples = self._segmenter.samples(segment.start, end)
        return self._tasks.spawn(self._final(samples, segment.utterance.request))

    def settled(self) -> None:
        """The text of a segment that has ended is known."""
        self.finals_due -= 1

    def listen_in(self) -> None:
        """Recognize what has been said so far, if it is time, something new was said, and nothing else is to do.

        Not in a silence: it may become a pause, and what is recognized then must not wait for the processor.
        """
        segment = self._segment
        if not self._wants_interim or segment is None or self.finals_due:
            return
        if not self._schedule.info.recognizes_meanwhile:
            return
        if segment.ahead is not None or (segment.interim is not None and not segment.interim.done()):
            return
        now, last_speech = self._segmenter.position, self._segmenter.last_speech
        if now - segment.interim_at < self._interim_interval or last_speech <= segment.interim_at:
            return
        if now - last_speech >= _SILENCE:
            return
        segment.interim_at = now
        segment.interim = self._tasks.spawn(self._interim(segment))

    async def _final(
        self, samples: Samples, request: RecognitionRequest, heard: Callable[[Recognition], None] = lambda _: None
    ) -> Recognition:
        recognition = await self._schedule.final(samples, request, heard)
        self._recognized(recognition, len(samples), interim=False)
        return recognition

    def _recognized(self, recognition: Recognition, samples: int, *, interim: bool) -> None:
        self._metrics.recognized(self._schedule.info, recognition.processing_s, to_seconds(samples), interim=interim)
        self.processing_s += recognition.processing_s

    async def _recognize_ahead(self, segment: _Segment, samples: Samples) -> Recognition:
        def heard(early: Recognition) -> None:
            if self._segment is segment and not self.finals_due:
                transcript = segment.utterance.interim(early, segment.start, segment.ahead_end)
                self._tasks.spawn(self._offer(transcript))

        recognition = await self._final(samples, segment.utterance.request, heard)
        if self._segment is segment and not self.finals_due:  # the endpoint is yet to come: the best interim there is
            await self._paused(segment, recognition)
        return recognition

    async def _paused(self, segment: _Segment, recognition: Recognition) -> None:
        """Let the words decide how long to wait, and tell the client what would be final."""
        transcript = segment.utterance.at_pause(recognition, segment.start, segment.ahead_end)
        segment.at_pause = (transcript.text, recognition.language)
        self._expect_end(segment)
        if self._options.pauses:
            self._last_interim = _news(transcript)
            await self._emit(transcript)
        else:
            await self._offer(replace(transcript, at_pause=False))

    async def _hear_turn_end(self, model: TurnEndModel, segment: _Segment, samples: Samples) -> None:
        """Let the sound have its say in how long to wait, beside the words and never without them."""
        try:
            segment.utterance.turn_end_probability = await model.probability(samples)
        except Exception:  # the words tell enough
            log.exception("the turn-end model failed")
            return
        self._expect_end(segment)

    def _expect_end(self, segment: _Segment) -> None:
        if segment.at_pause is not None:
            said, language = segment.at_pause
            heard = segment.utterance.turn_end_probability
            self._segmenter.expect_end(turn_end.end_silence_s(self._options.endpointing, said, language, heard))

    async def _interim(self, segment: _Segment) -> None:
        def take() -> Samples:
            segment.interim_at = self._segmenter.position
            return self._segmenter.samples(segment.start, segment.interim_at)

        try:
            recognition = await self._schedule.interim(take, segment.utterance.request)
        except Exception:  # a courtesy has failed; if the engine is broken the final one will tell
            log.exception("interim recognition failed")
            return
        if recognition is None:
            self._metrics.interim_stopped()
            return
        self._recognized(recognition, segment.interim_at - segment.start, interim=True)
        await self._offer(segment.utterance.interim(recognition, segment.start, segment.interim_at))

    async def _offer(self, transcript: Transcript) -> None:
        """Send an interim transcript that says anything new."""
        if self._wants_interim and transcript.text and _news(transcript) != self._last_interim:
            self._last_interim = _news(transcript)
            await self._emit(transcript)


def _news(transcript: Transcript) -> tuple[str, int]:
    return transcript.text, transcript.stable_characters


def _cancel(task: "asyncio.Task[Recognition] | asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
