"""What a session hears: live recognition that is opened at the first audio, and again after it failed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from orchestrator import clock
from orchestrator.domain import (
    ListeningEvent,
    SessionConfig,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
)
from orchestrator.stages.speech_to_text import NAME, Listening, SpeechToText
from services.common.audio_clock import AudioClock
from services.common.errors import ParleyError, UpstreamTimeoutError

RELISTEN_WAIT_S = 1.0
"""Recognition that fails is not opened more often than once in so long, or as the service asks for; audio that comes
meanwhile is dropped. What has worked for longer is opened again at once: another replica may hear the rest."""


class Hearing:
    """Recognition of one session's audio. Offsets of its events are from the session's first audio, their ids unique.

    Args:
        pauses: whether pauses are reported, and what was said up to each.
        timeout_s: seconds after the end of what is said within which its transcript must come, and within which audio
            must be taken; else recognition has failed.
        on_event: called with each event.
        on_lost: called where what is being said is lost: it was cleared, or recognition failed for a reason that is
            given then. Recognition is opened again with later audio.
    """

    def __init__(
        self,
        stt: SpeechToText,
        session_id: str,
        config: SessionConfig,
        *,
        pauses: bool,
        timeout_s: float,
        on_event: Callable[[ListeningEvent], None],
        on_lost: Callable[[ParleyError | None], None],
    ) -> None:
        self._stt, self._session_id, self._pauses = stt, session_id, pauses
        self._timeout_s = timeout_s
        self._on_event, self._on_lost = on_event, on_lost
        self._config = config
        self._listening: Listening | None = None
        self._listener: asyncio.Task[None] | None = None
        self._serial = 0
        self._arrivals = AudioClock()
        self._deaf_until = 0.0
        self._deafness: ParleyError | None = None
        self._untranscribed = 0
        """Utterances that have ended, and whose final transcripts are still to come."""
        self._told_to_end = False
        """Whether the next of them is ended by the client: it counts already."""
        self._alarm: asyncio.TimerHandle | None = None
        self.utterance_id = ""
        """The service's own id of what is being said."""

    def configure(self, config: SessionConfig) -> None:
        """Listen so from now on; what is being said is forgotten where that makes a difference."""
        before, self._config = self._config, config
        if _relevant(before) != _relevant(config):
            self.clear()

    async def append(self, audio: bytes, *, idle: bool) -> None:
        """Listen to this, a little later where the session is idle; waits where the service does not keep up."""
        if not audio:
            return
        now = clock.now()
        listening = self._open(now)
        if listening is None:
            return
        self._arrivals.arrived(len(audio) / self._config.input_format.bytes_per_second, now)
        if not listening.add_audio(audio, idle=idle):
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await listening.send_audio()
        except TimeoutError:
            self._give_up(listening, "took no audio")

    async def commit(self) -> None:
        """The user's turn ends here.

        Raises:
            ParleyError: where recognition failed a moment ago, so that there is nothing to end.
        """
        listening = self._open(clock.now())
        if listening is not None:
            if not self._told_to_end:
                self._told_to_end = True
                self._ended()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await listening.end_utterance()
            except TimeoutError:
                self._give_up(listening, "took no audio")
        elif self._deafness is not None:
            raise self._deafness

    def clear(self) -> None:
        """Forget what was said since the last turn."""
        if self._listening is not None:
            self._listening.cancel()
            self._forget()
            self._on_lost(None)

    @property
    def position_s(self) -> float:
        """Seconds of audio that have come."""
        return self._arrivals.total_s

    def arrived_at(self, offset_s: float) -> float:
        """When the audio up to this offset had arrived."""
        return self._arrivals.when(offset_s, clock.now())

    async def finish(self) -> None:
        """No audio follows: wait for the last words."""
        if self._listening is not None and self._listener is not None:
            await self._listening.finish()
            await self._listener

    async def aclose(self) -> None:
        """Stop listening."""
        self.clear()
        if self._listener is not None:
            await asyncio.gather(self._listener, return_exceptions=True)

    def _open(self, now: float) -> Listening | None:
        if self._listening is None and now >= self._deaf_until:
            self._serial += 1
            pauses = self._pauses and not self._config.turn_detection.manual
            self._listening = self._stt.listen(self._config, pauses=pauses)
            self._listener = asyncio.create_task(self._follow(self._listening, self._serial, self._arrivals.total_s))
        return self._listening

    async def _follow(self, listening: Listening, serial: int, base_s: float) -> None:
        opened_at = clock.now()
        try:
            async for event in listening.events():
                if listening is not self._listening:
                    return
                self.utterance_id = event.item_id
                self._watch(event)
                self._on_event(_placed(event, f"{self._session_id}_input_{serial}_{event.item_id}", base_s))
        except ParleyError as error:
            if listening is self._listening:
                wait_s = max(RELISTEN_WAIT_S, error.retry_after_s or 0.0)
                self._deafness, self._deaf_until = error, opened_at + wait_s
                self._on_lost(error)
        finally:
            if listening is self._listening:
                self._forget()

    def _watch(self, event: ListeningEvent) -> None:
        """Note which final transcripts are still to come."""
        if isinstance(event, SpeechStopped):
            if not self._told_to_end:
                self._ended()
            self._told_to_end = False
        elif isinstance(event, TranscriptCompleted):
            self._untranscribed = max(0, self._untranscribed - 1)
            self._set_alarm()

    def _ended(self) -> None:
        self._untranscribed += 1
        if self._alarm is None:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """The next transcript must come in time, counted from now."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._untranscribed and (listening := self._listening) is not None:
            late = "did not transcribe in time"
            self._alarm = asyncio.get_running_loop().call_later(self._timeout_s, self._give_up, listening, late)

    def _give_up(self, listening: Listening, why: str) -> None:
        """Recognition does not work, although its call has not failed: end that, and say so."""
        if listening is self._listening:
            listening.cancel()
            self._forget()
            self._on_lost(UpstreamTimeoutError(f"the {NAME} service {why}", retry_after_s=RELISTEN_WAIT_S))

    def _forget(self) -> None:
        """There is no recognition now, and nothing to wait for."""
        self._listening, self._untranscribed, self._told_to_end = None, 0, False
        self._set_alarm()


def _placed(event: ListeningEvent, item_id: str, base_s: float) -> ListeningEvent:
    """The event with its id and its offset as the session counts them."""
    match event:
        case SpeechStarted(_, start_s):
            return SpeechStarted(item_id, start_s + base_s)
        case SpeechStopped(_, end_s):
            return replace(event, item_id=item_id, end_s=end_s + base_s)
        case SpeechPaused(_, at_s):
            return SpeechPaused(item_id, at_s + base_s)
        case _:
            return replace(event, item_id=item_id)


def _relevant(config: SessionConfig) -> tuple[object, ...]:
    return config.input_format, config.stt_model, config.language_code, config.turn_detection
