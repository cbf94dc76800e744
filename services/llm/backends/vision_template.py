"""Chat templates with images: a processor made to look like the tokenizer that `ChatTemplate` knows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from jinja2.exceptions import TemplateError

from services.common.errors import StartupError
from services.llm.domain import ContentPart, ImagePart, Message, TextPart

_MARK = "\ue0ff"
"""Stands in a text for an image; a private-use character, taken out of what clients write."""
_PIECES = re.compile(f"\n?({_MARK})\n?")
"""With the line breaks that `Message.text` puts between a part and its neighbours."""
_PROBE = "a probe"


def marked(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages as text, in which each image is a mark."""
    return tuple(replace(message, content=tuple(_marked(part) for part in message.content)) for message in messages)


def images_of(messages: Sequence[Message]) -> list[ImagePart]:
    """The images of a context, in the order of their marks."""
    return [part for message in messages for part in message.content if isinstance(part, ImagePart)]


class VisionTokenizer:
    """Hands a conversation to a chat template as lists of texts and images, made from texts with marks.

    Raises:
        StartupError: the template has no place for images.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self.eos_token_id = self._tokenizer.eos_token_id
        self.backend_tokenizer = getattr(self._tokenizer, "backend_tokenizer", None)
        self.chat_template = getattr(processor, "chat_template", None) or self._tokenizer.chat_template
        if not self.chat_template:
            raise StartupError("--model_name: the model has no chat template; choose an instruct or chat model")
        # What the processor replaces by an image's tokens must not be written by a client, whatever the files call it.
        names = ("image_token", "boi_token", "eoi_token", "fake_image_token", "video_token", "audio_token")
        tokens = {str(token) for name in names if isinstance(token := getattr(processor, name, None), str)}
        self.added_tokens_decoder = {
            **self._tokenizer.added_tokens_decoder,
            **{-1 - number: SimpleNamespace(content=token, special=True) for number, token in enumerate(tokens)},
        }
        if not self._sees_images():
            raise StartupError("--llm_is_vlm: the model's chat template has no place for images")

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The prompt, with the processor's own mark for each image."""
        lists = [{**message, "content": _parts(message["content"])} for message in conversation]
        return str(self._tokenizer.apply_chat_template(lists, chat_template=self.chat_template, **options))

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens that are no part of a text, and their ids."""
        added: dict[str, int] = self._tokenizer.get_added_vocab()
        return added

    def decode(self, tokens: Sequence[int], **options: Any) -> str:
        """The text of tokens."""
        return str(self._tokenizer.decode(tokens, **options))

    def _sees_images(self) -> bool:
        """Whether an image changes the prompt; a template for texts alone ignores it, or raises."""
        try:
            without, with_image = (
                self.apply_chat_template([{"role": "user", "content": text}], tokenize=False)
                for text in (_PROBE, _MARK + _PROBE)
            )
        except (TemplateError, TypeError, KeyError):
            return False
        # A template for plain texts may write down the list as Python would.
        return _PROBE in without and "'type'" not in without and without != with_image


def _marked(part: ContentPart) -> TextPart:
    return TextPart(_MARK) if isinstance(part, ImagePart) else TextPart(part.text.replace(_MARK, ""))


def _parts(text: str | None) -> list[dict[str, str]] | None:
    if text is None:
        return None  # how some templates want a message that has calls alone
    pieces = [piece for piece in _PIECES.split(text) if piece] or [""]
    return [{"type": "image"} if piece == _MARK else {"type": "text", "text": piece} for piece in pieces]
