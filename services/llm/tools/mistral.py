"""Calls after `[TOOL_CALLS]`: a JSON list, or (from 2025 on) `name[ARGS]{…}`. Mistral, Devstral, Magistral. Pure."""

import re

from services.llm.tools import json_calls
from services.llm.tools.json_calls import JsonEnd
from services.llm.tools.parser import BadCall, Body, Call, Signatures, ToolFormat, Verdict

_LIST = re.compile(r"\s*(?:\Z|[\[{])")
_HEAD = re.compile(r"\s*([\w.-]{1,64})\s*(?:\[CALL_ID\]\s*\w+\s*)?(?:\[ARGS\]\s*)?")
_MAX_HEAD = 160
"""Characters among which the arguments must begin."""


class MistralBody(Body):
    """Has no closing mark: ends with its JSON."""

    def __init__(self, opening: str, signatures: Signatures, *, first: bool) -> None:
        super().__init__(opening, signatures, first=first)
        self._json = JsonEnd()
        self._head: int | None = None

    def feed(self, text: str) -> Verdict:
        self.text += text
        if self._head is None and not self._find_head():
            return Verdict.OVER if self.end else Verdict.OPEN
        end = self._json.find(self.text[self._head :])
        self.end = end + (self._head or 0)
        return Verdict.OVER if end >= 0 else Verdict.OPEN

    def calls(self) -> list[Call | BadCall]:
        text = self.text[: self.end]
        if self._head is None:
            return [BadCall("", text, "the call is not valid JSON")]
        if not self._head:
            return json_calls.read_calls(text)
        head = _HEAD.fullmatch(text, 0, self._head)
        if head is None:
            return [BadCall("", text, "the call names no tool")]
        return [json_calls.call(head[1], text[self._head :])]

    def _find_head(self) -> bool:
        """Whether it is known where the JSON begins: at once, or after a name."""
        start = _LIST.match(self.text, 0, _MAX_HEAD)
        if start is not None and start.end() < _MAX_HEAD:
            self._head = 0 if start.end() and self.text[start.end() - 1] in "[{" else None
            return self._head is not None
        brace = self.text.find("{", 0, _MAX_HEAD)
        if brace >= 0:
            self._head = brace
        elif len(self.text) >= _MAX_HEAD:
            self.end = _MAX_HEAD
        return brace >= 0


MISTRAL = ToolFormat(
    "mistral",
    ("[TOOL_CALLS]",),
    MistralBody,
    signs=("[TOOL_CALLS]",),
    tokens=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
)
