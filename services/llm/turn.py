"""One turn, from the backend's events to what the client receives and the history keeps. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from services.common.errors import UpstreamError
from services.llm.domain import (
    Admitted,
    BackendEvent,
    Finished,
    FinishReason,
    InvalidToolCall,
    Message,
    ReasoningDelta,
    Role,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
    TurnOutput,
)
from services.llm.speech.segments import Segmenter
from services.llm.speech.thinking import Kind, Part, ThinkingFilter
from services.llm.tools.calls import check_arguments, new_call_id, signatures
from services.llm.tools.formats import with_marks
from services.llm.tools.parser import BadCall, Call, Found, ToolCallParser


@dataclass
class _Written:
    """One message of an answer: text, then calls."""

    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)


class Turn:
    """Sorts out thinking, cuts speech segments, checks tool calls, and remembers the answer as it was generated.

    Args:
        segmenter: cuts the speech segments; None where nobody wants any.
        tools: those that may be called.
        known_call_ids: those of the calls before this turn; providers repeat them.
    """

    def __init__(
        self, segmenter: Segmenter | None, tools: Sequence[Tool] = (), known_call_ids: Collection[str] = ()
    ) -> None:
        self._thinking = ThinkingFilter()
        self._tools = signatures(tools)
        # Some providers leave the markup of calls in the text: there it is never spoken either.
        self._parser = ToolCallParser(with_marks(None), self._tools)
        self._segmenter = segmenter
        self._call_ids = set(known_call_ids)
        self._written = [_Written()]
        self._any_invalid = False
        self.finished: Finished | None = None
        """The backend's last event, once it has come."""

    def feed(self, event: BackendEvent) -> list[TurnOutput]:
        """What an event of the backend gives the client.

        Raises:
            UpstreamError: the answer has ended and is empty, or nothing but calls that cannot be made.
        """
        outputs: list[TurnOutput] = []
        if isinstance(event, Admitted):
            return outputs  # of the waiting, which is not part of the answer
        if isinstance(event, TextDelta):
            self._sort(self._thinking.feed(event.text), outputs)
        elif isinstance(event, ReasoningDelta):
            outputs.append(event)
        elif isinstance(event, Finished):
            self._flush(outputs)
            self.finished = self._ending(event)
        else:
            self._flush(outputs)
            if not isinstance(event, ToolCallStarted):
                outputs.append(self._call(event))
        return outputs

    @property
    def waits(self) -> bool:
        """Whether there is text for the first speech segment that `flush_deadline` may give."""
        return self._segmenter is not None and self._segmenter.waits

    def flush_deadline(self) -> Sequence[TurnOutput]:
        """What goes because no token has come for a while."""
        return self._segmenter.flush_deadline() if self._segmenter is not None else ()

    def answer(self) -> tuple[Message, ...]:
        """The answer so far, as the history keeps it: what was generated, without thinking and without broken calls.

        Text that follows a call is a message of its own, so that the order is kept.
        """
        messages = []
        for index, written in enumerate(self._written):
            text = "".join(written.text)
            if written.calls or (text.strip() if index else text):
                content = (TextPart(text),) if text else ()
                messages.append(Message(Role.ASSISTANT, content, tuple(written.calls)))
        return tuple(messages)

    def _call(self, event: ToolCallEvent | InvalidToolCall) -> ToolCallEvent | InvalidToolCall:
        """A call as the client gets it: with an id that no other has, or as what is wrong with it."""
        if isinstance(event, ToolCallEvent):
            call = event.call
            problem = check_arguments(call.arguments_json) if call.name in self._tools else "there is no such tool"
            if not problem:
                call = replace(call, id=self._unique(call.id), arguments_json=call.arguments_json.strip() or "{}")
                self._written[-1].calls.append(call)
                return ToolCallEvent(call)
            event = InvalidToolCall(call.id, call.name, call.arguments_json, problem)
        self._any_invalid = True
        return replace(event, id=self._unique(event.id))

    def _unique(self, call_id: str) -> str:
        while not call_id or call_id in self._call_ids:
            call_id = new_call_id()
        self._call_ids.add(call_id)
        return call_id

    def _ending(self, event: Finished) -> Finished:
        calls = any(written.calls for written in self._written)
        text = any(piece.strip() for written in self._written for piece in written.text)
        if not calls and not text and event.reason is not FinishReason.CONTENT_FILTER:
            if self._any_invalid:
                raise UpstreamError("the model only called tools in a way that cannot be carried out")
            limit = " before it reached its limit of tokens" if event.reason is FinishReason.LENGTH else ""
            raise UpstreamError(f"the model gave no answer{limit}")
        if event.reason in (FinishReason.STOP, FinishReason.TOOL_CALLS):
            return replace(event, reason=FinishReason.TOOL_CALLS if calls else FinishReason.STOP)
        return event

    def _sort(self, parts: list[Part], outputs: list[TurnOutput]) -> None:
        for part in parts:
            if part.kind is Kind.ANSWER:
                self._add(self._parser.feed(part.text), outputs)
            elif part.kind is Kind.THOUGHT:
                outputs.append(ReasoningDelta(part.text))
            else:
                for written in self._written:
                    written.text.clear()
                if self._segmenter is not None:
                    self._segmenter.drop()

    def _add(self, found: list[Found], outputs: list[TurnOutput]) -> None:
        for item in found:
            if isinstance(item, str):
                if self._written[-1].calls:
                    self._written.append(_Written())
                self._written[-1].text.append(item)
                outputs.append(TextDelta(item))
                if self._segmenter is not None:
                    outputs += self._segmenter.feed(item)
                continue
            if self._segmenter is not None:
                outputs += self._segmenter.flush()
            if isinstance(item, Call):
                outputs.append(self._call(ToolCallEvent(ToolCall("", item.name, item.arguments_json))))
            elif isinstance(item, BadCall):
                outputs.append(self._call(InvalidToolCall("", item.name, item.text, item.error)))

    def _flush(self, outputs: list[TurnOutput]) -> None:
        """Nothing is held back any longer."""
        self._sort(self._thinking.finish(), outputs)
        self._add(self._parser.finish(), outputs)
        if self._segmenter is not None:
            outputs += self._segmenter.flush()
