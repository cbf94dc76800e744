"""Runs turns: from what a client asks for to the events that it receives, and into the history."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry

from services.common import logs, tracing
from services.common.admission import AdmissionQueue
from services.common.errors import ContextLengthError, InvalidArgumentError, ModelNotFoundError, UpstreamError
from services.common.load import Load
from services.llm import checks
from services.llm.backends.base import Backend
from services.llm.context import compose, with_request
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.conversations import Conversations, check_answerable
from services.llm.conversation.ids import new_id
from services.llm.conversation.running_turn import RunningTurn
from services.llm.conversation.window import shorten
from services.llm.deadline import Deadline
from services.llm.domain import (
    Admitted,
    Completed,
    FinishReason,
    GenerationRequest,
    Message,
    ReasoningDelta,
    SpeechSegment,
    Started,
    TextDelta,
    Timings,
    Tool,
    TurnEvent,
    TurnOutput,
    TurnRequest,
)
from services.llm.idle import Idle
from services.llm.images.images import Images, has_images
from services.llm.languages import reply_request
from services.llm.metrics import GenerationMetrics
from services.llm.relay import Relay
from services.llm.speech.segments import Segmenter
from services.llm.tools.calls import callable_tools
from services.llm.trace_content import as_json
from services.llm.turn import Turn
from services.llm.turn_meter import TurnMeter

log = logging.getLogger(__name__)

SPOKEN_HOLD_S, READ_HOLD_S = 0.05, 0.01
"""Seconds that a text delta after the first may wait for company: where the client reads speech segments, and where it
reads the text itself. A message costs as much as its work (benchmarks/llm_gateway.py), and nobody sees 10 ms."""


@dataclass(frozen=True)
class TurnDefaults:
    """What the flags say about turns."""

    instructions: str
    first_batch_sentences: int
    first_segment_min_chars: int
    first_segment_deadline_s: float
    batch_sentences: int
    language_prompt: bool
    max_input_chars: int
    max_waiting: int


class Turns:
    """Runs turns on one backend; as many at a time as it can work on, the others wait their turn.

    Args:
        backend: a loaded one.
        conversations: the histories.
        defaults: what the flags say.
        images: loads the images of a context; None where the backend takes none.
        metrics: counts turns; without any, nobody does.
        room: what the process has time for; without it numbers alone decide.
    """

    def __init__(
        self,
        backend: Backend,
        conversations: Conversations,
        defaults: TurnDefaults,
        images: Images | None = None,
        metrics: GenerationMetrics | None = None,
        room: Load | None = None,
    ) -> None:
        self._backend = backend
        self._conversations = conversations
        self._defaults = defaults
        self._images = images
        self._room = room or Load(0.0)
        self._metrics = metrics or GenerationMetrics(CollectorRegistry())
        self._admission = AdmissionQueue(
            "generations", running=backend.capabilities.parallel, waiting=defaults.max_waiting
        )
        self.idle = Idle(1 if backend.capabilities.in_process else backend.capabilities.parallel)
        """When the model has time for something else."""

    async def run(self, asked: TurnRequest) -> AsyncGenerator[TurnEvent, None]:
        """The events of one turn; closing the generator cancels it.

        Raises:
            ParleyError: where the turn cannot be run or fails; it leaves no trace in the conversation then.
        """
        self._check(asked)
        meter = TurnMeter(self._metrics, self._backend.capabilities)
        clock = _Clock(time.monotonic(), meter)
        response_id = new_id("resp")
        async with meter, self._let_in(asked, response_id) as (conversation, messages, running):
            request = self._request(asked, conversation, messages)
            if not request.messages:
                raise InvalidArgumentError("there is nothing to answer, and no instructions", field="messages")
            self._backend.check(request)
            new = len(running.asked if running else asked.messages)
            request = await self._with_images(request, new)
            meter.span.set({"gen_ai.response.id": response_id, "gen_ai.conversation.id": asked.conversation_id or None})
            if tracing.content():
                meter.span.set({"gen_ai.input.messages": as_json(request.messages)})
            if logs.content():
                log.info("prompt", extra={"response_id": response_id, "messages": as_json(request.messages)})

            async def shorter() -> GenerationRequest | None:
                nonlocal messages
                fewer = shorten(messages)
                if running is None:
                    return None
                if fewer is messages:
                    running.no_room = frozenset()  # it was not the history: that stays
                    return None
                running.no_room |= {message.id for message in messages} - {message.id for message in fewer}
                messages = fewer
                return await self._with_images(self._request(asked, conversation, messages), new)

            turn = self._turn(asked, request)
            relay = Relay(SPOKEN_HOLD_S if asked.speech_segments else READ_HOLD_S)
            with logs.ids(response_id=response_id, conversation_id=asked.conversation_id):
                generating = asyncio.create_task(self._generate(request, shorter, response_id, turn, relay, clock))
            generating.add_done_callback(lambda task: relay.close(None if task.cancelled() else task.exception()))
            try:
                async for event in relay:
                    if running is not None and isinstance(event, Started):
                        await self._conversations.begin(running, turn.answer)
                    yield event
            finally:
                generating.cancel()
                await asyncio.gather(generating, return_exceptions=True)
                if tracing.content():
                    meter.span.set({"gen_ai.output.messages": as_json(turn.answer())})
                if logs.content():
                    log.info("answer", extra={"response_id": response_id, "messages": as_json(turn.answer())})
            if running is not None:
                await self._conversations.complete(running)
        assert turn.finished is not None
        whole = turn.finished.reason in (FinishReason.STOP, FinishReason.LENGTH) and not asked.held
        if whole and self._backend.capabilities.prefill:
            self.idle.try_once(self._read_ahead(asked, turn.answer()))
        timings = clock.timings()
        meter.span.set({"gen_ai.response.finish_reasons": (turn.finished.reason.value,)})
        meter.completed(turn.finished.usage, timings)
        log.info(
            "turn completed",
            extra={"response_id": response_id, "finish_reason": turn.finished.reason.value, **vars(timings)},
        )
        yield Completed(turn.finished.reason, turn.finished.usage, timings)

    async def prefill(
        self,
        conversation_id: str,
        messages: tuple[Message, ...],
        instructions: str | None = None,
        tools: tuple[Tool, ...] | None = None,
    ) -> int:
        """Make the context of a coming turn ready; returns its tokens, 0 where the backend cannot."""
        asked = TurnRequest(messages, conversation_id, instructions, tools=tools)
        checks.check_turn(asked, self._backend.capabilities, self._defaults.max_input_chars)
        conversation = await self._conversations.get(conversation_id) if conversation_id else None
        if not self._backend.capabilities.prefill:
            return 0
        with self.idle:
            return await self._make_ready(asked, conversation)

    async def _read_ahead(self, asked: TurnRequest, answer: tuple[Message, ...]) -> None:
        """While the user listens and speaks, the model reads what will stand before the next words: the template's
        marks between, and what the history keeps in another form than it was written in. Not after a held answer,
        which is settled later by what was heard of it: `prefill` is for whoever settles it.
        """
        if asked.conversation_id:
            conversation = await self._conversations.get(asked.conversation_id)
            await self._make_ready(replace(asked, messages=()), conversation)
        else:
            await self._make_ready(replace(asked, messages=asked.messages + answer), None)

    async def _make_ready(self, asked: TurnRequest, conversation: Conversation | None) -> int:
        history = conversation.messages if conversation else ()
        request = self._request(replace(asked, language_code=""), conversation, history + asked.messages)
        return await self._backend.prefill(await self._with_images(request, len(asked.messages)))

    def _check(self, asked: TurnRequest) -> None:
        capabilities = self._backend.capabilities
        if asked.model and asked.model != capabilities.model:
            raise ModelNotFoundError(f"this server has no such model; it has {capabilities.model}", field="model")
        checks.check_turn(asked, capabilities, self._defaults.max_input_chars)
        if not asked.conversation_id:
            checks.check_tool_choice(asked.tool_choice, asked.tools or ())

    @contextlib.asynccontextmanager
    async def _let_in(
        self, asked: TurnRequest, response_id: str
    ) -> AsyncIterator[tuple[Conversation | None, tuple[Message, ...], RunningTurn | None]]:
        """What `_history` says, where there is time for the turn: refused before any work is done for it."""
        with self._room.work("generations"):
            async with self._history(asked, response_id) as found:
                yield found

    @contextlib.asynccontextmanager
    async def _history(
        self, asked: TurnRequest, response_id: str
    ) -> AsyncIterator[tuple[Conversation | None, tuple[Message, ...], RunningTurn | None]]:
        """The conversation, its history with what is new, and the turn on it; a stateless turn has messages alone."""
        if not asked.conversation_id:
            check_answerable(asked.messages)
            yield None, asked.messages, None
            return
        turn = self._conversations.turn(
            asked.conversation_id, asked.messages, response_id, held=asked.held, item_id=asked.answer_item_id
        )
        async with turn as running:
            yield running.conversation, running.conversation.messages + running.asked, running

    def _request(
        self, asked: TurnRequest, conversation: Conversation | None, messages: tuple[Message, ...]
    ) -> GenerationRequest:
        config = conversation.config if conversation else None
        instructions = config.instructions if config and asked.instructions is None else asked.instructions
        tools = config.tools if config and asked.tools is None else asked.tools
        checks.check_tool_choice(asked.tool_choice, tools or ())
        summary = conversation.summary if conversation else ""
        context = compose(messages, instructions, self._defaults.instructions, summary)
        language = reply_request(asked.language_code) if self._defaults.language_prompt else None
        return GenerationRequest(
            with_request(context, language) if language else context,
            asked.sampling,
            tools or (),
            asked.tool_choice,
            asked.options,
            asked.conversation_id,
        )

    async def _with_images(self, request: GenerationRequest, new: int) -> GenerationRequest:
        """The request with its images as bytes; the last `new` messages are the client's."""
        if self._images is None or not has_images(request.messages):
            return request
        return replace(request, messages=await self._images.load(request.messages, new))

    def _turn(self, asked: TurnRequest, request: GenerationRequest) -> Turn:
        tools = callable_tools(request.tools, request.tool_choice)
        known_calls = (call.id for message in request.messages for call in message.tool_calls)
        return Turn(self._segmenter(asked), tools, frozenset(known_calls))

    def _segmenter(self, asked: TurnRequest) -> Segmenter | None:
        if not asked.speech_segments:
            return None
        later = asked.segment_sentences or self._defaults.batch_sentences
        first = min(self._defaults.first_batch_sentences, later)
        return Segmenter(first, later, self._defaults.first_segment_min_chars)

    async def _generate(
        self,
        request: GenerationRequest,
        shorter: Callable[[], Awaitable[GenerationRequest | None]],
        response_id: str,
        turn: Turn,
        relay: Relay,
        clock: "_Clock",
    ) -> None:
        """Wait for a place, then move the backend's events into the relay. The place is given back when the model is
        done, however slowly the client reads.

        A context that the model has no room for is tried again with fewer turns of the history, which leave it then.
        """
        with self.idle:
            async with self._admission.admit() as waited:
                clock.queue_s = waited
                capabilities = self._backend.capabilities
                started = Started(response_id, capabilities.model, capabilities.backend)
                if not capabilities.admits:
                    clock.meter.started(clock.queue_s)
                    relay.put(started)
                while True:
                    try:
                        await self._relay_answer(request, turn, relay, clock, started)
                        break
                    except ContextLengthError:
                        fewer = None if clock.saw_output else await shorter()
                        if fewer is None:
                            raise
                        log.info("the model has no room for the whole history; the older turns leave it")
                        request = fewer
        if turn.finished is None:
            raise UpstreamError("the model's answer broke off")

    async def _relay_answer(
        self, request: GenerationRequest, turn: Turn, relay: Relay, clock: "_Clock", started: Started
    ) -> None:
        def put(outputs: Sequence[TurnOutput]) -> None:
            for output in outputs:
                clock.see(output)
                relay.put(output)

        deadline = Deadline(self._defaults.first_segment_deadline_s, lambda: put(turn.flush_deadline()))
        try:
            async with contextlib.aclosing(self._backend.generate(request)) as events:
                async for event in events:
                    if isinstance(event, Admitted):
                        clock.queue_s += event.waited_s
                        clock.meter.started(clock.queue_s)
                        relay.put(started)
                    elif isinstance(event, TextDelta | ReasoningDelta):
                        clock.meter.piece()
                    deadline.stop()
                    put(turn.feed(event))
                    if turn.waits:
                        deadline.start()
        finally:
            deadline.stop()


class _Clock:
    """When what came for the first time."""

    def __init__(self, begun: float, meter: TurnMeter) -> None:
        self._begun = begun
        self.meter = meter
        self._timings = Timings()
        self.queue_s = 0.0

    @property
    def saw_output(self) -> bool:
        """Whether anything came yet."""
        return self._timings.first_token_s is not None

    def see(self, output: TurnOutput) -> None:
        """Note the first token and the first segment."""
        if self._timings.first_token_s is None:
            self._timings = replace(self._timings, first_token_s=(first_s := time.monotonic() - self._begun))
            self.meter.first_token(first_s)
        if self._timings.first_segment_s is None and isinstance(output, SpeechSegment):
            self._timings = replace(self._timings, first_segment_s=(first_s := time.monotonic() - self._begun))
            self.meter.first_segment(first_s)

    def timings(self) -> Timings:
        """All of them, at the end."""
        return replace(self._timings, queue_s=self.queue_s, total_s=time.monotonic() - self._begun)
