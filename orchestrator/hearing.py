"""What a session hears: live recognition that is opened at the first audio, and again after it failed.

Where recognition fails that has worked, as that of a replica that dies, another one hears at once what was said since
the last final transcript: the client is told nothing twice, and the user need not say it again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
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
from orchestrator.kept_audio import KeptAudio
from orchestrator.stages.speech_to_text import NAME, Listening, SpeechToText
from orchestrator.utterances import Utterances
from services.common.audio_clock import AudioClock
from services.common.errors import ParleyError, UnavailableError, UpstreamTimeoutError

log = logging.getLogger(__name__)

RELISTEN_WAIT_S = 1.0
"""Recognition that fails is not opened more often than once in so long, or as the service asks for; audio that comes
meanwhile is dropped."""
LEAD_S = 1.0
"""Seconds of audio before the beginning of an utterance that are heard again with it: voice detection looks back, and
tells of the beginning a moment later."""
TAIL_S = 0.2
"""Seconds after the end of an utterance that belong to it: silence, which has ended it, lasts longer."""


class Hearing:
    """Recognition of one session's audio. Offsets of its events are from the session's first audio, their ids unique.

    Args:
        pauses: whether pauses are reported, and what was said up to each.
        timeout_s: seconds after the end of what is said within which its transcript must come, and within which audio
            must be taken; else recognition has failed.
        on_event: called with each event.
        on_lost: called where what is being said is lost: it was cleared, or recognition failed, also when it was tried
            again, for a reason that is given then. Recognition is opened again with later audio.
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
        self._kept = KeptAudio(config.input_format, 0.0)
        self._utterances = Utterances()
        self._transcribed_s = 0.0
        """Up to where all words are known."""
        self._tried_again = False
        """Whether what is being said is heard for the second time."""
        self._finishing = False
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
        self._keep(audio)
        if listening.add_audio(audio, idle=idle):
            await self._in_time(listening, listening.send_audio())

    async def commit(self) -> None:
        """The user's turn ends here.

        Raises:
            ParleyError: where recognition failed a moment ago, so that there is nothing to end.
        """
        listening = self._open(clock.now())
        if listening is not None:
            self._utterances.turn_ended()
            self._kept.turn_ended()
            self._expect_transcript()
            listening.add_end()
            await self._in_time(listening, listening.send_audio())
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
        self._finishing = True
        if self._listening is not None:
            await self._listening.finish()
        while self._listener is not None and not self._listener.done():
            await self._listener

    async def aclose(self) -> None:
        """Stop listening."""
        self.clear()
        if self._listener is not None:
            await asyncio.gather(self._listener, return_exceptions=True)

    def _open(self, now: float) -> Listening | None:
        if self._listening is None and now >= self._deaf_until:
            self._kept = KeptAudio(self._config.input_format, self._arrivals.total_s)
            self._listen()
        return self._listening

    def _listen(self) -> None:
        """Open recognition of what is kept, and of what follows."""
        self._serial += 1
        pauses = self._pauses and not self._config.turn_detection.manual
        listening = self._listening = self._stt.listen(self._config, pauses=pauses)
        for piece in self._kept.pieces():
            if piece is None:
                listening.add_end()
            elif piece:
                listening.add_audio(piece)
        self._listener = asyncio.create_task(self._follow(listening, self._serial, self._kept.start_s))

    async def _follow(self, listening: Listening, serial: int, base_s: float) -> None:
        opened_at = clock.now()
        works = False
        try:
            if self._tried_again:
                await self._in_time(listening, listening.send_audio())
            if self._finishing:
                await listening.finish()
            async for event in listening.events():
                if listening is not self._listening:
                    return
                works = True
                self.utterance_id = event.item_id
                placed = _placed(event, f"{self._session_id}_input_{serial}_{event.item_id}", base_s)
                if (untold := self._utterances.told(placed)) is not None:
                    self._watch(untold)
                    self._on_event(untold)
        except ParleyError as error:
            wait_s = max(RELISTEN_WAIT_S, error.retry_after_s or 0.0)
            works = works or clock.now() >= opened_at + wait_s
            if listening is self._listening and not (works and self._hear_again(error)):
                self._deafness, self._deaf_until = error, opened_at + wait_s
                self._on_lost(error)
        finally:
            if listening is self._listening:
                self._forget()

    def _hear_again(self, error: ParleyError) -> bool:
        """Have what was not transcribed heard once more, where that may help; returns whether it is."""
        said = self._utterances.since_s is not None or self._utterances.any_ended
        if (said and self._tried_again) or not self._kept.whole or not isinstance(error, UnavailableError):
            return False
        log.warning("recognition was lost, another one hears the same audio", extra={"error": str(error)})
        self._tried_again = True
        self._utterances.begin_again()
        self._listen()
        self._set_alarm()
        return True

    def _keep(self, audio: bytes) -> None:
        """Keep audio until its words are known; while nobody speaks, the latest."""
        self._kept.add(audio)
        since_s = self._utterances.since_s
        place_s = (self._arrivals.total_s if since_s is None else since_s) - LEAD_S
        self._kept.forget_before(max(place_s, self._transcribed_s))

    async def _in_time(self, listening: Listening, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await sending
        except TimeoutError:
            self._give_up(listening, "took no audio")

    def _watch(self, event: ListeningEvent) -> None:
        """Wait for the final transcript of what has stopped; once it is there that need not be kept."""
        if isinstance(event, SpeechStopped):
            self._expect_transcript()
        elif isinstance(event, TranscriptCompleted):
            self._tried_again = False
            utterance = self._utterances.transcribed(event.item_id)
            if utterance is None or utterance.end_s is None or utterance.by_client:
                self._kept.forget_turn()
            else:
                self._transcribed_s = utterance.end_s + TAIL_S
            self._set_alarm()

    def _expect_transcript(self) -> None:
        if self._alarm is None:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """The next transcript must come in time, counted from now."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._utterances.any_ended and (listening := self._listening) is not None:
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
        self._listening, self._tried_again = None, False
        self._utterances.clear()
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
