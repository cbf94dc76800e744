"""One response: the language model writes, its segments are spoken while it writes on, the client hears them.

The work is stopped in one place (`cancel`, `discard`) and ends in one place (`_settle`): the history gets what was
heard, the client gets exactly one ResponseDone for a response that it knows of, and nothing for any other.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator import clock
from orchestrator.apology import Apology
from orchestrator.domain import Failure, ResponseDone, ResponseStatus, SessionConfig, TurnTimings
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.output import Output, OutputOptions
from orchestrator.speech import Speech
from orchestrator.stages import Stages, language_model, text_to_speech
from orchestrator.stages.language_model import (
    GenerationCompleted,
    GenerationStarted,
    Prompt,
    SpeechSegment,
    ToolCallFailed,
)
from orchestrator.turn_trace import trace_turn
from services.common import tracing
from services.common.errors import ParleyError, UpstreamError, UpstreamTimeoutError
from services.common.status import INTERNAL_MESSAGE
from services.common.task_groups import first_error

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """When the user's words were known: spans in seconds from the end of their speech, which was at `ended_at`."""

    ended_at: float
    endpointing: float | None = None
    final_transcript: float | None = None


@dataclass(frozen=True)
class TurnOptions:
    """What all responses of a server share.

    Attributes:
        timeout_s: seconds without progress after which a response fails.
        max_audio_lead_s: seconds of audio that may be ahead of what the client plays.
        paced: whether clients play audio as it comes.
        apology: what is said where a response fails.
    """

    timeout_s: float
    max_audio_lead_s: float = 2.0
    paced: bool = True
    apology: Apology = field(default_factory=lambda: Apology(""))


class Turn:
    """A response in the making. Run `run` as a task; end it early with `cancel`, never by cancelling that task.

    Nothing of it is sent before `confirm`.

    Args:
        on_audio: called once, when the client takes the first audio.
        on_call: called with the id of each function call that the client is given.
        busy_until: when the client will have played what came before.
        trace: the user's turn that it answers; it ends with the response, unless that is discarded.
    """

    def __init__(
        self,
        stages: Stages,
        config: SessionConfig,
        outbox: Outbox,
        response_id: str,
        prompt: Prompt,
        options: TurnOptions,
        metrics: TurnMetrics,
        on_audio: Callable[[], None] = lambda: None,
        on_call: Callable[[str], None] = lambda _: None,
        busy_until: float = 0.0,
        trace: tracing.Span = tracing.OFF,
    ) -> None:
        self.response_id = response_id
        self.trace = trace
        self._span = tracing.begin("response", {"parley.response.id": response_id}, parent=trace.context)
        self._stages, self._config, self._outbox, self._prompt = stages, config, outbox, prompt
        self._options, self._metrics = options, metrics
        self._on_audio, self._on_call = on_audio, on_call
        spoken = not config.text_only
        output_options = OutputOptions(config.output_format, options.max_audio_lead_s, options.paced, spoken)
        self.output = Output(
            outbox, response_id, output_options, self._on_first_audio, self._on_function_call, busy_until
        )
        self.calls: list[str] = []
        """Ids of the function calls that the client was given."""
        self._begun_at = clock.now()
        self._status = ResponseStatus.COMPLETED
        self._heard: Heard | None = None
        self._reached: dict[str, float] = {}
        self._text: list[str] = []
        self._held_id = ""
        self._completed: GenerationCompleted | None = None
        self._work: asyncio.Task[None] | None = None
        self._cancelled = self._discarded = self._told = self._any_call = False

    @property
    def item_id(self) -> str:
        """The id of the item that is spoken."""
        return self.output.item_id

    def has(self, item_id: str) -> bool:
        """Whether this is its answer, one of its calls, or what it answers, until the client knows of its end."""
        if self._told:
            return False
        asked = (message.item_id for message in self._prompt.messages)
        return item_id in (self.item_id, *self.calls, *asked)

    async def run(self) -> None:
        """Make the response and settle it. What fails is told to the client, not raised."""
        error, error_type = "", ""
        self._span.activate()
        self._work = asyncio.create_task(self._produce())
        if self._cancelled:
            self._work.cancel()
        try:
            await self._work
            if self._completed is not None and self._completed.cut_short:
                self._status = ResponseStatus.INCOMPLETE
        except asyncio.CancelledError:
            self._status = ResponseStatus.CANCELLED
        except ParleyError as failure:
            self._status, error, error_type = ResponseStatus.FAILED, str(failure), failure.reason
        except Exception:
            log.exception("response failed", extra={"response_id": self.response_id})
            self._status, error, error_type = ResponseStatus.FAILED, INTERNAL_MESSAGE, "INTERNAL"
            self._outbox.put(Failure(ParleyError(INTERNAL_MESSAGE)))
        if self._discarded:
            await self._vanish()
        else:
            await self._settle(error, error_type)
        self._span.set({"parley.response.outcome": "discarded" if self._discarded else self._status.value})
        self._span.end(error_type)

    @property
    def ahead_s(self) -> float:
        """How much sooner its first audio is there than if it began now."""
        audio_at = self.output.audio_at
        return (clock.now() if audio_at is None else audio_at) - self._begun_at

    def confirm(self, heard: Heard) -> None:
        """The client may have it: it answers the words that were heard so."""
        self._heard = heard
        self.output.release()

    @property
    def cut(self) -> bool:
        """Whether it has ended before it was whole."""
        return self._status not in (ResponseStatus.COMPLETED, ResponseStatus.INCOMPLETE)

    def finish(self) -> None:
        """Do not wait until all has been played: what follows is to be begun."""
        self.output.hurry()

    def cancel(self) -> None:
        """Stop the work at every stage; `run` then settles what was heard."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancel()

    def discard(self) -> None:
        """Stop the work at every stage; `run` then leaves no trace of it."""
        self._discarded = True
        self.cancel()

    def truncate(self, played_s: float) -> None:
        """The client says how much of the audio it really played, in seconds; it knows better than the clock."""
        self.output.playback.stopped_at(played_s)

    async def _produce(self) -> None:
        """All the work, until the client has played it. A failure waits until the client may know of it, and is
        apologised for.
        """
        try:
            await self._work_on_it()
        except ParleyError as error:
            await self.output.until_released()
            self._outbox.put(Failure(error))
            await self._apologise()
            raise
        await self.output.played_out()

    async def _work_on_it(self) -> None:
        try:
            with first_error(ParleyError, TimeoutError):
                async with asyncio.timeout(self._options.timeout_s) as deadline, asyncio.TaskGroup() as group:
                    speech = Speech(self._stages.tts, self._config, self.output, lambda: self._progress(deadline))
                    group.create_task(speech.run())
                    await self._think(speech)
        except TimeoutError:
            late = text_to_speech.NAME if speech.synthesizing else language_model.NAME
            raise UpstreamTimeoutError(f"the {late} service did not go on in time", retry_after_s=1.0) from None
        self.output.end_audio()
        self._check_said()

    def _check_said(self) -> None:
        """Refuse an answer of nothing but emoji or dots: who listens would wait in silence."""
        if self._config.text_only or self._any_call or self.output.playback.received_s:
            return
        if any(text.strip() for text in self._text):
            raise UpstreamError("the model's answer has nothing that can be spoken")

    async def _apologise(self) -> None:
        """Say sorry, if the response is spoken at all; it is no part of the answer that the history keeps."""
        audio = [] if self._config.text_only else list(self._options.apology.audio(self._config.output_format))
        if not audio:
            return
        self.output.put_aside(self._options.apology.text)
        self.output.playback.begin_segment("")
        for chunk in audio:
            await self.output.put_audio(chunk)
        self.output.playback.end_segment()
        await self.output.played_out()

    def _progress(self, deadline: asyncio.Timeout) -> None:
        """Audio has come: however long the answer is, it takes too long only where nothing happens any more."""
        deadline.reschedule(asyncio.get_running_loop().time() + self._options.timeout_s)

    async def _think(self, speech: Speech) -> None:
        async with contextlib.aclosing(self._stages.llm.generate(self._config, self._prompt)) as events:
            async for event in events:
                if isinstance(event, str):
                    self._reach("first_token")
                    self._text.append(event)
                    self.output.put_text(event)
                elif isinstance(event, SpeechSegment):
                    self._reach("first_segment")
                    speech.add(event)
                elif isinstance(event, GenerationStarted):
                    self._held_id = event.response_id
                elif isinstance(event, GenerationCompleted):
                    self._completed = event
                elif isinstance(event, ToolCallFailed):
                    tool = f" {event.name}" if event.name else ""
                    self._outbox.put(Failure(UpstreamError(f"the model called a tool{tool} wrongly: {event.error}")))
                else:
                    self._any_call = True
                    self.output.put_call(event)
        if self._completed is None:
            raise UpstreamError("the language model service ended its answer too early", retry_after_s=1.0)
        speech.finish()

    def _on_first_audio(self) -> None:
        self._reach("first_audio")
        self._on_audio()

    def _on_function_call(self, call_id: str) -> None:
        self.calls.append(call_id)
        self._on_call(call_id)

    def _reach(self, step: str) -> None:
        self._reached.setdefault(step, clock.now())

    async def _settle(self, error: str, error_type: str) -> None:
        status = self._status
        transcript = self._heard_text() if self.cut else "".join(self._text)
        if self._held_id and self._prompt.conversation_id:
            try:
                heard_text = transcript if self.cut else None
                await self._stages.llm.commit_response(self._prompt.conversation_id, self._held_id, heard_text)
            except ParleyError as failure:
                log.warning("history not settled", extra={"error": str(failure)})
                self._outbox.put(Failure(failure))
        self._reach("total")
        timings = self._timings()
        self._metrics.responded(status, timings)
        if self._heard is not None:
            trace_turn(self.trace, self._heard.ended_at, status, timings, error_type)
        usage = self._completed.usage if self._completed else None
        extra = {"response_id": self.response_id, "status": status.value, "error": error}
        log.info("response done", extra=extra)
        self._told = True
        self._outbox.put(ResponseDone(self.response_id, status, transcript, timings, usage))

    async def _vanish(self) -> None:
        """The history forgets a response that nobody heard, and the turn that asked for it."""
        self.output.cut()
        self._metrics.discarded("".join(self._text), self.output.playback.received_s)
        if self._held_id and self._prompt.conversation_id:
            try:
                await self._stages.llm.discard_response(self._prompt.conversation_id, self._held_id)
            except ParleyError as failure:  # it expires by itself
                log.warning("speculation not discarded", extra={"error": str(failure)})

    def _timings(self) -> TurnTimings:
        if self._heard is None:
            return TurnTimings()
        zero = self._heard.ended_at
        spans = {step: at - zero for step, at in self._reached.items()}
        return TurnTimings(self._heard.endpointing, self._heard.final_transcript, **spans)

    def _heard_text(self) -> str:
        """What reached the user: all text that was sent where there is no audio, else what was played."""
        sent = self.output.cut()
        return sent if self._config.text_only else self.output.playback.heard_by(clock.now())
