"""One response: the language model writes, its segments are spoken while it writes on, the client hears them.

The work is stopped in one place (`cancel`) and ends in one place (`_settle`): the history gets what was heard, the
client gets exactly one ResponseDone.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    SessionConfig,
    TextDelta,
    TurnTimings,
)
from orchestrator.outbox import Outbox
from orchestrator.playback import Playback
from orchestrator.speech import Speech
from orchestrator.stages import Stages
from orchestrator.stages.language_model import (
    GenerationCompleted,
    GenerationStarted,
    Prompt,
    SpeechSegment,
    ToolCallFailed,
)
from services.common.errors import ParleyError, UpstreamError, UpstreamTimeoutError
from services.common.status import INTERNAL_MESSAGE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """When the user's words were known: spans in seconds from the end of their speech, which was at `ended_at`."""

    ended_at: float
    endpointing: float | None = None
    final_transcript: float | None = None


class Turn:
    """A response in the making. Run `run` as a task; end it early with `cancel`, never by cancelling that task.

    Args:
        on_audio: called once, with the first audio.
        timeout_s: seconds after which the response fails.
    """

    def __init__(
        self,
        stages: Stages,
        config: SessionConfig,
        outbox: Outbox,
        response_id: str,
        prompt: Prompt,
        heard: Heard,
        *,
        timeout_s: float,
        on_audio: Callable[[], None] = lambda: None,
    ) -> None:
        self.response_id = response_id
        self.item_id = f"{response_id}_item"
        self._stages, self._config, self._outbox, self._prompt = stages, config, outbox, prompt
        self._zero, self._timings = heard.ended_at, TurnTimings(heard.endpointing, heard.final_transcript)
        self._timeout_s = timeout_s
        self._on_audio = on_audio
        self._playback = Playback()
        self._text: list[str] = []
        self._held_id = ""
        self._completed: GenerationCompleted | None = None
        self._work: asyncio.Task[None] | None = None
        self._cancelled = False
        self._played_s: float | None = None

    async def run(self) -> None:
        """Make the response and settle it. What fails is told to the client, not raised."""
        self._outbox.put(ResponseCreated(self.response_id, self.item_id))
        status = ResponseStatus.COMPLETED
        error: ParleyError | None = None
        self._work = asyncio.create_task(self._produce())
        if self._cancelled:
            self._work.cancel()
        try:
            await self._work
            if self._completed is not None and self._completed.cut_short:
                status = ResponseStatus.INCOMPLETE
        except asyncio.CancelledError:
            status = ResponseStatus.CANCELLED
        except ParleyError as failure:
            status, error = ResponseStatus.FAILED, failure
        except Exception:
            log.exception("response failed", extra={"response_id": self.response_id})
            status, error = ResponseStatus.FAILED, ParleyError(INTERNAL_MESSAGE)
        await self._settle(status, error)

    def cancel(self) -> None:
        """Stop the work at every stage; `run` then settles what was heard."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancel()

    def truncate(self, played_s: float) -> None:
        """The client says how much of the audio it really played, in seconds; it knows better than the clock."""
        self._played_s = played_s

    async def _produce(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s), asyncio.TaskGroup() as group:
                speech = Speech(self._stages.tts, self._config, self._playback, self._send_audio)
                group.create_task(speech.run())
                await self._think(speech)
        except* ParleyError as failures:
            raise failures.exceptions[0] from None
        except* TimeoutError:
            raise UpstreamTimeoutError("the response took too long") from None

    async def _think(self, speech: Speech) -> None:
        async with contextlib.aclosing(self._stages.llm.generate(self._config, self._prompt)) as events:
            async for event in events:
                if isinstance(event, str):
                    self._mark("first_token")
                    self._text.append(event)
                    self._outbox.put(TextDelta(self.response_id, self.item_id, event))
                elif isinstance(event, SpeechSegment):
                    self._mark("first_segment")
                    speech.add(event)
                elif isinstance(event, GenerationStarted):
                    self._held_id = event.response_id
                elif isinstance(event, GenerationCompleted):
                    self._completed = event
                elif isinstance(event, ToolCallFailed):
                    tool = f" {event.name}" if event.name else ""
                    self._outbox.put(Failure(UpstreamError(f"the model called a tool{tool} wrongly: {event.error}")))
                else:
                    self._outbox.put(FunctionCall(self.response_id, event))
        if self._completed is None:
            raise UpstreamError("the language model service ended its answer too early", retry_after_s=1.0)
        speech.finish()

    async def _send_audio(self, audio: bytes) -> None:
        if self._timings.first_audio is None:
            self._mark("first_audio")
            self._on_audio()
        offset_s = self._playback.sent_s
        await self._outbox.put_audio(AudioDelta(self.response_id, self.item_id, audio, offset_s))
        self._playback.sent(len(audio) / self._config.output_format.bytes_per_second, time.monotonic())

    def _mark(self, step: str) -> None:
        if getattr(self._timings, step) is None:
            self._timings = replace(self._timings, **{step: time.monotonic() - self._zero})

    async def _settle(self, status: ResponseStatus, error: ParleyError | None) -> None:
        transcript = "".join(self._text)
        whole = status in (ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE)
        if not whole:
            transcript = self._heard_text()
        if self._held_id and self._prompt.conversation_id:
            try:
                heard_text = None if whole else transcript
                await self._stages.llm.commit_response(self._prompt.conversation_id, self._held_id, heard_text)
            except ParleyError as failure:
                log.warning("history not settled", extra={"error": str(failure)})
                error = error or failure
        self._timings = replace(self._timings, total=time.monotonic() - self._zero)
        usage = self._completed.usage if self._completed else None
        extra = {"response_id": self.response_id, "status": status.value, "error": str(error or "")}
        log.info("response done", extra=extra)
        if error is not None:
            self._outbox.put(Failure(error))
        self._outbox.put(ResponseDone(self.response_id, status, transcript, self._timings, usage))

    def _heard_text(self) -> str:
        """What reached the user: all text where there is no audio, else what was played."""
        if self._config.text_only:
            return "".join(self._text)
        cut_s = self._outbox.drop_audio(self.response_id)
        if self._played_s is not None:
            return self._playback.heard(self._played_s)
        played_s = self._playback.played_s(time.monotonic())
        return self._playback.heard(min(played_s, cut_s) if cut_s >= 0 else played_s)
