"""Turns tokens into text as they come, without half characters. Pure."""

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class Detokenizer:
    """Decodes a window of tokens twice, with and without the new ones; the difference is the new text.

    The window keeps tokens before the new ones, since a token's text may depend on those before it (spaces, bytes of
    one character). The algorithm is that of Hugging Face's text-generation-inference (`decode_token`).

    Args:
        decode: tokens to text, leaving out special tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._read = 0

    def feed(self, token: int) -> str:
        """The text that a token completes."""
        self._tokens.append(token)
        known, text = self._decode(self._tokens[: self._read]), self._decode(self._tokens)
        if len(text) <= len(known) or text.endswith(_UNFINISHED):
            return ""
        del self._tokens[: self._read]
        self._read = len(self._tokens)
        return text[len(known) :]

    def finish(self) -> str:
        """What is left: a character that was never finished is dropped."""
        known, text = self._decode(self._tokens[: self._read]), self._decode(self._tokens)
        self._tokens, self._read = [], 0
        return text[len(known) :].rstrip(_UNFINISHED)
