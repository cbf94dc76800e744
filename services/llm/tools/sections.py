"""Calls that control tokens mark one by one, in a section of their own: DeepSeek V3 and R1, Kimi K2. Pure."""

import re

from services.llm.tools import json_calls
from services.llm.tools.parser import BadCall, Body, Call, ToolFormat, Verdict

_CLOSINGS = {
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
}
_DEEPSEEK = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
_KIMI = ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>")
_CALLS = {
    "<｜tool▁calls▁begin｜>": (
        re.compile(
            r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?([\w.-]{1,200})(?:<｜tool▁sep｜>|\s*```json)(.*?)(?:```\s*)?"
            r"<｜tool▁call▁end｜>",
            re.DOTALL,
        ),
        _DEEPSEEK[-1],
    ),
    "<|tool_calls_section_begin|>": (
        re.compile(
            r"<\|tool_call_begin\|>\s*(?:functions\.)?([\w.-]{1,200}?)(?::\d+)?\s*<\|tool_call_argument_begin\|>(.*?)"
            r"<\|tool_call_end\|>",
            re.DOTALL,
        ),
        _KIMI[-1],
    ),
}
"""By the section's opening: a call, and what ends it."""


class SectionBody(Body):
    """Ends at the end of its section; none of its marks is ever a part of text."""

    def feed(self, text: str) -> Verdict:
        closing = _CLOSINGS[self.opening]
        searched = max(0, len(self.text) - len(closing))
        self.text += text
        at = self.text.find(closing, searched)
        if at < 0:
            return Verdict.OPEN
        self.end = at + len(closing)
        return Verdict.OVER

    def calls(self) -> list[Call | BadCall]:
        content = self.text[: self.end].removesuffix(_CLOSINGS[self.opening])
        calls: list[Call | BadCall] = []
        position = 0
        call, ending = _CALLS[self.opening]
        last = content.rfind(ending)  # what begins after it has no end, and need not be searched for one
        for match in call.finditer(content, 0, last + len(ending) if last >= 0 else 0):
            position = match.end()
            calls.append(json_calls.call(match[1], match[2]))
        rest = content[position:].strip()
        return [*calls, BadCall("", rest, "the call is incomplete")] if rest or not calls else calls


SECTIONS = ToolFormat(
    "sections",
    tuple(_CLOSINGS),
    SectionBody,
    signs=tuple(_CLOSINGS),
    tokens=(*_CLOSINGS, *_CLOSINGS.values(), *_DEEPSEEK, *_KIMI),
)
