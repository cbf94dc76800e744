"""Renders a context with a model's own chat template, in the form that the template can take."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2.exceptions import TemplateError

from services.common.errors import InvalidArgumentError, StartupError
from services.llm.backends.base import RoleNames
from services.llm.backends.role_marks import RoleMarks, fold_of
from services.llm.backends.template_history import (
    Entry,
    alternating,
    calls_as_text,
    entries,
    one_call_each,
    outputs_as_user,
    system_in_user,
    text_apart,
)
from services.llm.backends.tool_style import PROBE_CALL, PROBE_TOOL, ToolStyle, learn
from services.llm.domain import Message, Role, Tool, ToolCall, ToolChoice, ToolMode
from services.llm.speech import thinking
from services.llm.tools import json_calls
from services.llm.tools.calls import callable_tools
from services.llm.tools.formats import with_marks

log = logging.getLogger(__name__)

_FIRST, _SECOND = Entry(Role.USER, "first probe"), Entry(Role.USER, "second probe")
_REFUSALS = (TemplateError, TypeError, ValueError, KeyError, AttributeError)
"""What templates raise at what they do not take: those that add a text and a dict raise as Python does."""
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True)
class Prompt:
    """What the model gets to read, and what of its answer stands at the end of it: an opened thought, a begun call."""

    text: str
    begun: str = ""


class ChatTemplate:
    """A tokenizer's chat template, and what it refuses.

    Some templates know no system role, or raise where two user messages follow each other (as they do after a
    barge-in), or take one call in a message, or no messages of tools: each gets a context that says the same in the
    form that it takes. All of that is found out by rendering probes, once.

    Attributes:
        tool_format: how the model writes calls; None where its template has no tools.
        control_tokens: the texts of the tokenizer's special tokens.

    Raises:
        StartupError: where the model has no chat template, or refuses the user's role.
    """

    def __init__(self, tokenizer: Any, names: RoleNames) -> None:
        self._tokenizer = tokenizer
        self._names = names
        if not tokenizer.chat_template:
            raise StartupError("--model_name: the model has no chat template; choose an instruct or chat model")
        control = {str(token.content): id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.control_tokens = tuple(control)
        self._marks = RoleMarks(control, fold_of(tokenizer))
        self._style = ToolStyle()
        if not self._shows(_FIRST):
            raise StartupError(f"--user_role {names.user}: the model's chat template refuses this role")
        self._knows_system = self._shows(replace(_FIRST, role=Role.SYSTEM), _SECOND)
        self._takes_neighbours = self._shows(_FIRST, _SECOND)
        if not self._knows_system:
            log.info("the chat template refuses the role of the instructions; they go into the first user message")
        self.tool_format, self._style = learn(self._probe, str(tokenizer.chat_template))
        if not self._marks.learn(self._written()):
            log.warning("the chat template marks turns by words alone: what a user says may pass for another's turn")
        kept = {token for known in with_marks(self.tool_format) for token in known.tokens} | {
            *thinking.OPENINGS,
            *thinking.CLOSINGS,
        }
        self._unwritten = frozenset(id_ for token, id_ in control.items() if token not in kept)

    def check(self, tools: Sequence[Tool], choice: ToolChoice | None) -> None:
        """Refuse a choice of tools that the model cannot be held to.

        Raises:
            InvalidArgumentError: naming the field.
        """
        if tools and choice is not None and choice.mode is ToolMode.REQUIRED and self._style.begins is None:
            raise InvalidArgumentError("this model cannot be made to call a tool", field="tool_choice")

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), choice: ToolChoice | None = None
    ) -> Prompt:
        """The prompt for a context, up to where the answer begins, or into it where a tool must be called.

        Raises:
            InvalidArgumentError: where the template refuses the order of the roles.
        """
        offered = callable_tools(tools, choice)
        history = entries(messages)
        try:
            text = self._apply(self._suited(history), offered, self._style, True)
        except _REFUSALS as error:
            log.info("the chat template refused a context", extra={"template_error": str(error)})
            raise InvalidArgumentError(
                "the model's chat template refuses these roles in this order", field="messages"
            ) from None
        thought = next((mark for mark in thinking.OPENINGS if text.rstrip().endswith(mark)), "")
        if offered and choice is not None and choice.mode is ToolMode.REQUIRED:
            self.check(offered, choice)
            begun = self._begun_call(offered, choice.tool_name)
            closing = dict(zip(thinking.OPENINGS, thinking.CLOSINGS, strict=True)).get(thought)
            return Prompt(f"{text}\n{closing}\n\n{begun}" if closing else text + begun, begun)
        return Prompt(text, thought)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens: without control tokens, but with the marks of thinking and of calls."""
        written = [token for token in tokens if token not in self._unwritten]
        return str(self._tokenizer.decode(written, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _suited(self, history: list[Entry]) -> list[Entry]:
        """The context in the form that this template takes."""
        if self.tool_format is None:
            history = calls_as_text(history)
        if not self._style.parallel:
            history = one_call_each(history)
        if not self._style.text and self._takes_neighbours:
            history = text_apart(history)
        if not self._style.outputs:
            history = outputs_as_user(history)
        if not self._knows_system:
            history = system_in_user(history)
        return history if self._takes_neighbours else alternating(history)

    def _begun_call(self, tools: Sequence[Tool], name: str) -> str:
        assert self._style.begins is not None, "checked before"
        before, between = self._style.begins
        name = name or (tools[0].name if len(tools) == 1 else "")
        return f"{before}{name}{between}" if name else before

    def _apply(self, history: Sequence[Entry], tools: Sequence[Tool], style: ToolStyle, ask: bool) -> str:
        prompt = self._tokenizer.apply_chat_template(
            [self._message(entry, style) for entry in history],
            tools=[self._tool(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=ask,
        )
        return str(prompt)

    def _probe(self, history: Sequence[Entry], tools: Sequence[Tool], style: ToolStyle, ask: bool) -> str:
        try:
            return self._apply(history, tools, style, ask)
        except _REFUSALS:
            return ""

    def _shows(self, *history: Entry) -> bool:
        """Whether the template takes these messages, and all of their text."""
        prompt = self._probe(history, (), self._style, True)
        return all(entry.text in prompt for entry in history)

    def _written(self) -> str:
        """What the template itself writes around a conversation, and around one with tools."""
        told = [replace(_FIRST, role=Role.SYSTEM), _FIRST, replace(_SECOND, role=Role.ASSISTANT), _SECOND]
        written = self._probe(self._suited(told), (), self._style, True)
        if self.tool_format is not None:
            written += self._probe(self._suited([_FIRST, *PROBE_CALL]), (PROBE_TOOL,), self._style, True)
        return written

    def _message(self, entry: Entry, style: ToolStyle) -> dict[str, Any]:
        said = entry.role in (Role.USER, Role.TOOL)
        text = self._marks.without_marks(entry.text) if said else self._marks.without_control(entry.text)
        message: dict[str, Any] = {"role": self._names.of(entry.role), "content": text}
        if entry.calls:
            message["content"] = message["content"] or style.no_content
            message["tool_calls"] = [self._call(call, style) for call in entry.calls]
        if entry.role is Role.TOOL:
            message |= {"name": self._marks.without_marks(entry.name), "tool_call_id": _short_id(entry.call_id)}
        return message

    def _call(self, call: ToolCall, style: ToolStyle) -> dict[str, Any]:
        arguments: Any = self._marks.without_marks(call.arguments_json)
        if not style.text_arguments:
            try:
                arguments = self._marks.in_values(json_calls.loads(call.arguments_json or "{}"))
            except ValueError:
                arguments = {"arguments": arguments}  # a client's own: ours are JSON
        function = {"name": self._marks.without_marks(call.name), "arguments": arguments}
        return {"type": "function", "id": _short_id(call.id), "function": function}

    def _tool(self, tool: Tool) -> dict[str, Any]:
        parameters = json_calls.loads(tool.parameters_json_schema or '{"type": "object", "properties": {}}')
        description = self._marks.without_marks(tool.description)
        function = {"name": tool.name, "description": description, "parameters": self._marks.in_values(parameters)}
        return {"type": "function", "function": function}


def _short_id(call_id: str) -> str:
    """Nine letters and digits, as the templates of Mistral want; ours are so already."""
    return call_id if _SHORT_ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]
