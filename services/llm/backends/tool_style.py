"""Finds out, by rendering probes, how a chat template wants tools, and how its model writes calls. Pure."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.llm.backends.template_history import Entry
from services.llm.domain import Role, Tool, ToolCall
from services.llm.tools.formats import told_by_call, told_by_template
from services.llm.tools.parser import ToolFormat

_USER, _KEY, _VALUE, _OUTPUT = "probe question", "probe_key", "probe value", "probe output"
_SCHEMA = {"type": "object", "properties": {_KEY: {"type": "string", "description": "A probe."}}}
_TOOL = Tool("probe_tool", "A probe.", json.dumps(_SCHEMA))
_ARGUMENTS = json.dumps({_KEY: _VALUE})
_CALL, _OTHER_CALL = (ToolCall(id_, _TOOL.name, _ARGUMENTS) for id_ in ("probeCal1", "probeCal2"))
_THINKING = re.compile(r"<think>(?:.*?</think>)?\s*", re.DOTALL)

_ASKED = Entry(Role.USER, _USER)
_CALLED = Entry(Role.ASSISTANT, "", (_CALL,))
_ANSWERED = Entry(Role.TOOL, _OUTPUT, (), _CALL.id, _TOOL.name)
_TOLD = replace(_CALLED, text="probe lead-in")
_CALLED_TWICE = replace(_CALLED, calls=(_CALL, _OTHER_CALL))
_ANSWERED_TWICE = replace(_ANSWERED, call_id=_OTHER_CALL.id)
PROBE_TOOL, PROBE_CALL = _TOOL, (_CALLED, _ANSWERED)
"""A tool, and messages in which it was called and answered."""


@dataclass(frozen=True)
class ToolStyle:
    """How a template wants calls.

    Attributes:
        text_arguments: as JSON text, where others want them as a mapping.
        no_content: what stands for the text of a message that only calls.
        parallel: whether a message may have several.
        outputs: whether it knows messages of tools.
        text: whether it writes the text of a message that has calls as well.
        begins: what an answer that calls begins with: all before the name of the tool, and what stands between that
            and the arguments; None where that is not known.
    """

    text_arguments: bool = False
    no_content: str | None = ""
    parallel: bool = True
    outputs: bool = True
    text: bool = True
    begins: tuple[str, str] | None = None


Render = Callable[[Sequence[Entry], Sequence[Tool], ToolStyle, bool], str]
"""Renders a context with tools, in a style, up to where an answer would begin or not; "" where that is refused."""


def learn(render: Render, template: str) -> tuple[ToolFormat | None, ToolStyle]:
    """The format of a model's calls (None: its template has no tools), and the style of its template.

    The format is the one that reads back a call which the template itself has written; else that of which the
    template's text has a sign.
    """
    plain = ToolStyle()
    if _TOOL.name not in render([_ASKED], [_TOOL], plain, True):
        return None, plain
    for text_arguments, no_content, outputs in itertools.product((False, True), ("", None), (True, False)):
        style = ToolStyle(text_arguments, no_content, outputs=outputs)
        written = _after(render([_ASKED, _CALLED, *([_ANSWERED] if outputs else [])], [_TOOL], style, False), _USER)
        known = told_by_call(written, _TOOL.name, _ARGUMENTS, {_TOOL.name: _TOOL.parameters_json_schema})
        if known is not None and (not outputs or _OUTPUT in written):
            several = render([_ASKED, _CALLED_TWICE, _ANSWERED, _ANSWERED_TWICE], [_TOOL], style, False)
            parallel = _after(several, _USER).count(_TOOL.name) >= 2
            told = _after(render([_ASKED, _TOLD, _ANSWERED], [_TOOL], style, False), _USER)
            text = _TOLD.text in told and _TOOL.name in told
            asked = _after(render([_ASKED], [_TOOL], style, True), _USER)
            return known, replace(style, parallel=parallel, text=text, begins=_begins(asked, written))
    return told_by_template(template), plain


def _begins(asked: str, written: str) -> tuple[str, str] | None:
    """What stands before and after the name of the tool in a written call, from where an answer begins.

    Args:
        asked: the prompt after the user's text, up to where an answer begins.
        written: the same with the answer.
    """
    asked, written = _THINKING.sub("", asked), _THINKING.sub("", written)
    if not written.startswith(asked):
        return None
    before, _, after = written[len(asked) :].partition(_TOOL.name)
    between = after[: after.index(_KEY)]
    for mark in ("{", "<"):  # of a JSON object, or of the tag around a parameter
        if mark in between:
            between = between[: between.rindex(mark)]
    return before, between.rstrip(" ")  # a space belongs to the token that follows it


def _after(text: str, mark: str) -> str:
    return text.rpartition(mark)[2]
