"""Renders a context with a model's own chat template, in the form that the template can take."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError

from services.common.errors import InvalidArgumentError, StartupError
from services.llm.backends.base import RoleNames
from services.llm.domain import Message, Role

log = logging.getLogger(__name__)

_PROBES = ("first probe", "second probe")


class ChatTemplate:
    """A tokenizer's chat template, and what it refuses.

    Some templates know no system role, or raise where two user messages follow each other (as they do after a
    barge-in): then instructions move into the first user message, and neighbours of one role become one message.

    Raises:
        StartupError: where the model has no chat template, or refuses the user's role.
    """

    def __init__(self, tokenizer: Any, names: RoleNames) -> None:
        self._tokenizer = tokenizer
        self._names = names
        if not tokenizer.chat_template:
            raise StartupError("--model_name: the model has no chat template; choose an instruct or chat model")
        special = {str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = re.compile(
            "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)) or "(?!)"
        )
        first, second = _PROBES
        if not self._shows([(Role.USER, first)]):
            raise StartupError(f"--user_role {names.user}: the model's chat template refuses this role")
        self._knows_system = self._shows([(Role.SYSTEM, first), (Role.USER, second)])
        self._takes_neighbours = self._shows([(Role.USER, first), (Role.USER, second)])
        if not self._knows_system:
            log.info("the chat template refuses the role of the instructions; they go into the first user message")

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for a context, up to where the answer begins.

        Raises:
            InvalidArgumentError: where the template refuses the order of the roles.
        """
        turns = [(message.role, self._defused(message.text)) for message in messages]
        if not self._knows_system:
            turns = _system_in_user(turns)
        if not self._takes_neighbours:
            turns = _merged(turns)
        try:
            return self._apply(turns)
        except TemplateError as error:
            log.info("the chat template refused a context", extra={"template_error": str(error)})
            raise InvalidArgumentError(
                "the model's chat template refuses these roles in this order", field="messages"
            ) from None

    def _apply(self, turns: Sequence[tuple[Role, str]]) -> str:
        conversation = [{"role": self._names.of(role), "content": text} for role, text in turns]
        prompt = self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        return str(prompt)

    def _shows(self, turns: Sequence[tuple[Role, str]]) -> bool:
        """Whether the template takes these messages, and all of their text."""
        try:
            prompt = self._apply(turns)
        except TemplateError:
            return False
        return all(text in prompt for _, text in turns)

    def _defused(self, text: str) -> str:
        """Text in which no control token is one: nobody ends his turn, or begins another's, by writing its mark."""
        return self._special.sub(lambda token: f"{token[0][:1]} {token[0][1:]}", text)


def _system_in_user(turns: list[tuple[Role, str]]) -> list[tuple[Role, str]]:
    """System texts go to the head of the next user message; without one they become one."""
    moved: list[tuple[Role, str]] = []
    waiting: list[str] = []
    for role, text in turns:
        if role is Role.SYSTEM:
            waiting.append(text)
            continue
        if role is Role.USER and waiting:
            text = "\n\n".join((*waiting, text))
            waiting.clear()
        moved.append((role, text))
    return [*moved, (Role.USER, "\n\n".join(waiting))] if waiting else moved


def _merged(turns: list[tuple[Role, str]]) -> list[tuple[Role, str]]:
    """Neighbours of one role become one message."""
    merged: list[tuple[Role, str]] = []
    for role, text in turns:
        if merged and merged[-1][0] is role:
            merged[-1] = (role, f"{merged[-1][1]}\n\n{text}")
        else:
            merged.append((role, text))
    return merged
