"""One turn, from the backend's events to what the client receives and the history keeps. Pure."""

from services.common.errors import UpstreamError
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    Message,
    ReasoningDelta,
    Role,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallEvent,
    TurnOutput,
)
from services.llm.speech.segments import Segmenter
from services.llm.speech.thinking import Kind, Part, ThinkingFilter


class Turn:
    """Sorts out thinking, cuts speech segments, and remembers the answer as it was generated.

    Args:
        segmenter: cuts the speech segments; None where nobody wants any.
    """

    def __init__(self, segmenter: Segmenter | None) -> None:
        self._thinking = ThinkingFilter()
        self._segmenter = segmenter
        self._text: list[str] = []
        self._calls: list[ToolCall] = []
        self.finished: Finished | None = None
        """The backend's last event, once it has come."""

    def feed(self, event: BackendEvent) -> list[TurnOutput]:
        """What an event of the backend gives the client.

        Raises:
            UpstreamError: the answer has ended and is empty.
        """
        outputs: list[TurnOutput] = []
        if isinstance(event, TextDelta):
            self._sort(self._thinking.feed(event.text), outputs)
        elif isinstance(event, ReasoningDelta):
            outputs.append(event)
        elif isinstance(event, ToolCallEvent):
            self._flush(outputs)
            self._calls.append(event.call)
            outputs.append(event)
        else:
            self._flush(outputs)
            self.finished = event
            if not self._calls and not "".join(self._text).strip() and event.reason is not FinishReason.CONTENT_FILTER:
                limit = " before it reached its limit of tokens" if event.reason is FinishReason.LENGTH else ""
                raise UpstreamError(f"the model gave no answer{limit}")
        return outputs

    def answer(self) -> tuple[Message, ...]:
        """The answer so far, as the history keeps it: what was generated, without the thinking."""
        text = "".join(self._text)
        if not text and not self._calls:
            return ()
        content = (TextPart(text),) if text else ()
        return (Message(Role.ASSISTANT, content, tuple(self._calls)),)

    def _sort(self, parts: list[Part], outputs: list[TurnOutput]) -> None:
        for part in parts:
            if part.kind is Kind.ANSWER:
                self._text.append(part.text)
                outputs.append(TextDelta(part.text))
                if self._segmenter is not None:
                    outputs += self._segmenter.feed(part.text)
            elif part.kind is Kind.THOUGHT:
                outputs.append(ReasoningDelta(part.text))
            else:
                self._text.clear()
                if self._segmenter is not None:
                    self._segmenter.drop()

    def _flush(self, outputs: list[TurnOutput]) -> None:
        """Nothing is held back any longer."""
        self._sort(self._thinking.finish(), outputs)
        if self._segmenter is not None:
            outputs += self._segmenter.flush()
