"""From the tokens that a local model writes to the events of its answer. Pure; all local engines share it."""

from collections.abc import Callable

from services.common.errors import ContextLengthError
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import AnswerEvent, LocalAnswer
from services.llm.backends.stop_strings import StopStrings
from services.llm.domain import BackendEvent, FinishReason

Emit = Callable[[BackendEvent], bool]
"""Hands an event over; False where nobody wants more."""

PREFILL_CHUNK = 512
"""Tokens of a prompt between two looks at whether anybody still wants the answer."""


class Abandoned(Exception):
    """Nobody wants the answer any more."""


class AnswerTokens:
    """Makes events of an answer's tokens, and knows when it is over.

    Args:
        detokenizer: makes text of tokens.
        answer: sorts the text.
        plan: for its stop strings and its least number of tokens.
        ends: tokens that end an answer.
    """

    def __init__(
        self, detokenizer: Detokenizer, answer: LocalAnswer, plan: GenerationPlan, ends: frozenset[int]
    ) -> None:
        self._detokenizer = detokenizer
        self._answer = answer
        self._stops = StopStrings(plan.stop)
        self._min_tokens = plan.min_new_tokens
        self._ends = ends
        self.count = 0
        """Tokens taken, one that ends the answer included."""
        self.over = False
        """Whether the model has ended its answer, or a stop string has: no token is wanted any more."""

    @property
    def reason(self) -> FinishReason:
        """Why it has ended."""
        return FinishReason.STOP if self.over else FinishReason.LENGTH

    def take(self, token: int) -> list[AnswerEvent]:
        """What the next token gives."""
        self.count += 1
        if token in self._ends:
            self.over = True
            return []
        text = self._detokenizer.feed(token)
        if not text:
            return []
        if self.count > self._min_tokens:  # before, a stop string does not count, as an end token does not
            text = self._stops.feed(text)
            self.over = self._stops.hit
        return self._answer.feed(text)

    def finish(self) -> list[AnswerEvent]:
        """What was held back: nothing follows."""
        rest = self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        return [*self._answer.feed(rest), *self._answer.finish()]


def room_for_answer(context_length: int, context: int, wanted: int) -> int:
    """Tokens that the answer to a context may have, at most those wanted.

    Args:
        context_length: tokens of context and answer together; 0 where that is not known.
        context: tokens of the context.

    Raises:
        ContextLengthError: there is no room for an answer.
    """
    room = context_length - context if context_length else wanted
    if room < 1:
        message = f"the context has {context} tokens, the model takes {context_length} with the answer"
        raise ContextLengthError(message, field="messages")
    return min(wanted, room)
