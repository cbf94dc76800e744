"""Prompts to tokens, so that a history's tokens are those that were read and generated. Pure.

Text can be cut into tokens in more than one way, and a model does not always write it as the tokenizer would. Keys and
values are found again by tokens: so the tokens of a context whose text is known already are the ones that it had, and
only what is new is cut. A server that has never seen the text cuts all of it, as any other would.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

_REMEMBERED = 512


class PromptTokens:
    """Cuts prompts, and remembers those that have been answered.

    Args:
        cut: text to tokens, control tokens included.
        borders: the control tokens' texts. What follows one of them is cut as if it stood alone, so that a prompt may
            be taken apart before it.
        most: tokens of all that is remembered; a conversation's turns hold what was said before them, each.
    """

    def __init__(self, cut: Callable[[str], Sequence[int]], borders: Iterable[str], most: int = 1 << 18) -> None:
        self._cut = cut
        self._borders = tuple(border for border in borders if border and self._is_border(border))
        self._known: OrderedDict[str, array[int]] = OrderedDict()
        self._most = most
        self._held = 0

    def tokens(self, prompt: str) -> list[int]:
        """A prompt's tokens."""
        best = ""
        for text in reversed(self._known):
            if len(text) > len(best) and prompt.startswith(text) and self._may_part(prompt, len(text)):
                best = text
        if not best:
            return list(self._cut(prompt))
        self._known.move_to_end(best)
        rest = prompt[len(best) :]
        return [*self._known[best], *(self._cut(rest) if rest else ())]

    def remember(self, text: str, tokens: Sequence[int]) -> None:
        """A prompt with its answer, and the tokens that they had."""
        if self._borders:
            self._held += len(tokens) - len(self._known.pop(text, ()))
            self._known[text] = array("i", tokens)
            while len(self._known) > _REMEMBERED or self._held > self._most:
                self._held -= len(self._known.popitem(last=False)[1])

    def _may_part(self, prompt: str, place: int) -> bool:
        return place == len(prompt) or prompt.startswith(self._borders, place)

    def _is_border(self, border: str) -> bool:
        """Whether the tokenizer really cuts what stands after it, and what it begins, as if alone."""
        before, after = "A word", f"{border}user\nand another"
        return [*self._cut(before), *self._cut(after)] == list(self._cut(before + after))
