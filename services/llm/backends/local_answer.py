"""What a local model writes, sorted: text, thinking, tool calls. Pure; fed decoded text in any chunking.

Thinking comes first, so that markup which the model only thinks about calls nothing.
"""

from collections.abc import Sequence
from typing import TypeAlias

from services.llm.domain import (
    InvalidToolCall,
    ReasoningDelta,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallEvent,
    ToolCallStarted,
)
from services.llm.speech.thinking import Kind, Part, ThinkingFilter
from services.llm.tools.calls import new_call_id, signatures
from services.llm.tools.formats import with_marks
from services.llm.tools.parser import Begun, Call, Found, ToolCallParser, ToolFormat

AnswerEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallEvent | InvalidToolCall
"""Everything but the end, which the backend tells."""

ALL_WAS_THOUGHT = "</think>"
"""The text delta that tells the turn that all text before it was thinking: the tag that the model wrote unopened."""


class LocalAnswer:
    """Makes events of an answer's text: `feed` it as it comes, then `finish`.

    Args:
        known: how the model writes calls; None where its template has no tools.
        tools: those that may be called in this turn.
        begun: what of the answer stands in the prompt already, such as `<think>` or the beginning of a call.
    """

    def __init__(self, known: ToolFormat | None, tools: Sequence[Tool], begun: str = "") -> None:
        self._thinking = ThinkingFilter()
        self._parser = ToolCallParser(with_marks(known), signatures(tools))
        self._calls = 0
        for part in self._thinking.feed(begun):
            if part.kind is Kind.ANSWER:
                self._parser.feed(part.text)

    @property
    def calls(self) -> int:
        """Calls so far that can be made."""
        return self._calls

    def feed(self, text: str) -> list[AnswerEvent]:
        """What more text gives."""
        events: list[AnswerEvent] = []
        self._sort(self._thinking.feed(text), events)
        return events

    def finish(self) -> list[AnswerEvent]:
        """What was held back: nothing follows."""
        events: list[AnswerEvent] = []
        self._sort(self._thinking.finish(), events)
        self._add(self._parser.finish(), events)
        return events

    def _sort(self, parts: list[Part], events: list[AnswerEvent]) -> None:
        for part in parts:
            if part.kind is Kind.ANSWER:
                self._add(self._parser.feed(part.text), events)
            elif part.kind is Kind.THOUGHT:
                events.append(ReasoningDelta(part.text))
            else:
                events.append(TextDelta(ALL_WAS_THOUGHT))

    def _add(self, found: list[Found], events: list[AnswerEvent]) -> None:
        for item in found:
            if isinstance(item, str):
                events.append(TextDelta(item))
            elif isinstance(item, Begun):
                events.append(ToolCallStarted())
            elif isinstance(item, Call):
                self._calls += 1
                events.append(ToolCallEvent(ToolCall(new_call_id(), item.name, item.arguments_json)))
            else:
                events.append(InvalidToolCall(new_call_id(), item.name, item.text, item.error))
