"""One live stream: bytes in, events out."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from services.common import tracing
from services.common.audio_clock import AudioClock
from services.stt.domain import (
    Completed,
    Event,
    Recognition,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    StreamOptions,
    Transcript,
)
from services.stt.endpointing import EndpointEvent, Paused, Resumed, SegmentEnded, SegmentStarted
from services.stt.metrics import SttMetrics
from services.stt.owned_tasks import OwnedTasks
from services.stt.schedule import Schedule
from services.stt.segment_recognizer import SegmentRecognizer
from services.stt.segmenter import Segmenter
from services.stt.timebase import to_seconds
from services.stt.turn_end_model import TurnEndModel
from services.stt.utterance import Utterance

_EVENTS_AHEAD = 256
"""Events that may wait for a slow reader; then the stream is not read on either."""
_FINALS_AHEAD = 2
"""Segments that may wait for the model; then the stream is not read on: a client that sends faster than the model works
is slowed down by gRPC's flow control, not kept in memory."""
_SLICE_S = 0.25
"""Longer messages are taken in pieces, so that the event loop is never held for long."""


class ForceEnd:
    """In place of audio: the utterance ends now."""


@dataclass(frozen=True)
class _Closing:
    """A segment for an utterance, with the task that knows its text; without one, the utterance just ends.

    `ended_at` is when its speech ended, or the client said so.
    """

    utterance: Utterance
    ended_at: float
    segment: SegmentEnded | None = None
    recognizing: "asyncio.Task[Recognition] | None" = None

    @property
    def closes_utterance(self) -> bool:
        return self.segment is None or self.segment.closes_utterance


class Listener:
    """Args:
    schedule: recognizes.
    segmenter: finds the segments of this stream.
    options: what the client asked for.
    interim_interval_s: seconds of audio between two interim transcripts.
    metrics: where durations go.
    turn_end_model: hears whether a turn has ended; None: the words alone tell.
    """

    def __init__(
        self,
        schedule: Schedule,
        segmenter: Segmenter,
        options: StreamOptions,
        interim_interval_s: float,
        metrics: SttMetrics,
        turn_end_model: TurnEndModel | None = None,
    ) -> None:
        self._model = schedule.info.name
        self._schedule = schedule
        self._segmenter = segmenter
        self._options = options
        self._metrics = metrics
        self._clock = AudioClock()
        self._no_interim_since: float | None = None
        """When the speech began that no interim transcript has come of yet."""
        audio_format = options.transcription.audio_format
        self._slice_bytes = max(1, int(audio_format.bytes_per_second * _SLICE_S))
        self._events: asyncio.Queue[Event | Exception | None] = asyncio.Queue(_EVENTS_AHEAD)
        self._closings: asyncio.Queue[_Closing | None] = asyncio.Queue(_FINALS_AHEAD)
        self._tasks = OwnedTasks()
        self._recognizer = SegmentRecognizer(
            schedule, segmenter, self._tasks, options, self._put_interim, interim_interval_s, metrics, turn_end_model
        )
        self._utterance: Utterance | None = None
        self._call_span = tracing.current()
        self._told_to_end = False
        """Whether the utterance ends at the client's word, not at a silence."""

    async def listen(self, incoming: AsyncIterator[bytes | ForceEnd]) -> AsyncGenerator[Event, None]:
        """The events of the stream. Leaving the loop, or cancelling it, ends all work for it.

        Raises:
            UnsupportedAudioError: naming `audio`, for a file header, or for a part of a sample at the end (after the
                final transcript).
            whatever the engine or `incoming` raises.
        """
        self._tasks.spawn(self._or_report(self._hear(incoming)))
        self._tasks.spawn(self._or_report(self._deliver_finals()))
        try:
            while (event := await self._events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            await self._tasks.aclose()
            if self._utterance is not None:
                self._utterance.span.end()

    async def _or_report(self, work: Coroutine[Any, Any, None]) -> None:
        """An error of one of the stream's tasks is the stream's."""
        try:
            await work
        except Exception as error:  # noqa: BLE001  raised again in `listen`
            await self._events.put(error)

    async def _put_interim(self, transcript: Transcript) -> None:
        if self._no_interim_since is not None and transcript.text:
            self._metrics.first_interim(time.monotonic() - self._no_interim_since)
            tracing.current().event("first interim transcript")
            self._no_interim_since = None
        await self._events.put(transcript)

    def _arrived_at(self, sample: int) -> float:
        return self._clock.when(to_seconds(sample), time.monotonic())

    async def _hear(self, incoming: AsyncIterator[bytes | ForceEnd]) -> None:
        """Read the stream to its end, then flush what is being said."""
        async for item in incoming:
            if isinstance(item, ForceEnd):
                await self._close_now(answer_always=True)
                continue
            audio_s = len(item) / self._options.transcription.audio_format.bytes_per_second
            self._clock.arrived(audio_s, time.monotonic())
            self._metrics.received(audio_s)
            self._schedule.heard(audio_s)
            for at in range(0, len(item), self._slice_bytes):
                if at:
                    await asyncio.sleep(0)  # let others run
                for event in self._segmenter.feed(item[at : at + self._slice_bytes]):
                    await self._on(event)
                self._segmenter.forget()
                self._recognizer.listen_in()
        await self._close_now(answer_always=False)
        await self._closings.put(None)

    async def _on(self, event: EndpointEvent) -> None:
        match event:
            case SegmentStarted(start, onset):
                if self._utterance is None:
                    self._no_interim_since = self._arrived_at(onset)
                    self._utterance = self._open(Utterance(self._options.transcription, onset), self._no_interim_since)
                    await self._events.put(SpeechStarted(self._utterance.id, to_seconds(onset)))
                self._recognizer.begin(self._utterance, start, onset)
            case Paused(speech_end, end):
                if self._options.pauses and self._utterance is not None:
                    await self._events.put(SpeechPaused(self._utterance.id, to_seconds(speech_end)))
                self._recognizer.pause(end)
            case Resumed():
                self._recognizer.resume()
                if self._options.pauses and self._utterance is not None:
                    await self._events.put(SpeechResumed(self._utterance.id))
            case SegmentEnded():
                if self._utterance is None:
                    raise RuntimeError("a segment ended outside an utterance")
                self._utterance.speech_end = event.speech_end
                ended_at = time.monotonic() if self._told_to_end else self._arrived_at(event.speech_end)
                closing = _Closing(self._utterance, ended_at, event, self._recognizer.end(event.end))
                if closing.closes_utterance and not self._told_to_end:
                    self._metrics.ended(time.monotonic() - ended_at)
                await self._queue(closing)

    async def _close_now(self, *, answer_always: bool) -> None:
        """Close the utterance at the client's word; where none is open, answer with an empty one if that is due."""
        closed_any = False
        self._told_to_end = True
        for event in self._segmenter.flush():
            await self._on(event)
            closed_any = closed_any or (isinstance(event, SegmentEnded) and event.closes_utterance)
        self._told_to_end = False
        self._segmenter.forget()
        utterance = self._utterance
        if utterance is None and answer_always and not closed_any:
            nothing_said = Utterance(self._options.transcription, self._segmenter.position)
            utterance = self._utterance = self._open(nothing_said, time.monotonic())
        if utterance is not None:
            await self._queue(_Closing(utterance, time.monotonic()))

    def _open(self, utterance: Utterance, at: float) -> Utterance:
        """An utterance begins, and with it a turn of the user's: what is done for it now is part of that trace."""
        utterance.span = tracing.begin("utterance", parent=tracing.of_utterance(utterance.id), at=at)
        utterance.span.activate()
        return utterance

    async def _queue(self, closing: _Closing) -> None:
        if closing.closes_utterance:
            self._utterance = self._no_interim_since = None
            closing.utterance.span.event("end of speech", at=closing.ended_at)
            closing.utterance.span.event("turn ended")
            self._call_span.activate()
            offset_s = to_seconds(closing.utterance.speech_end)
            probability = closing.utterance.turn_end_probability
            await self._events.put(SpeechStopped(closing.utterance.id, offset_s, probability))
        await self._closings.put(closing)

    async def _deliver_finals(self) -> None:
        """Send the final transcripts in the order in which the utterances were spoken, then the end of the stream."""
        while (closing := await self._closings.get()) is not None:
            segment = closing.segment
            if segment is not None and closing.recognizing is not None:
                recognition = await closing.recognizing
                closing.utterance.add(recognition, segment.start, segment.onset, segment.speech_end)
                self._recognizer.settled()
            if closing.closes_utterance:
                final = closing.utterance.final()
                if final.text:
                    self._metrics.finalized(time.monotonic() - closing.ended_at)
                closing.utterance.span.set({"parley.stt.transcript": final.text if tracing.content() else None})
                closing.utterance.span.end()
                await self._events.put(final)
        self._segmenter.finish()
        audio_s = to_seconds(self._segmenter.position)
        await self._events.put(Completed(self._model, audio_s, self._recognizer.processing_s))
        await self._events.put(None)
