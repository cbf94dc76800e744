"""Calls written as Python: `[get_weather(city="Paris"), get_time()]` (Llama 3.2 and 4, LFM2, ToolACE). Pure."""

import ast
import json
import re
from typing import Any

from services.llm.tools.json_calls import call
from services.llm.tools.parser import BadCall, Body, Call, Signatures, ToolFormat, Verdict

_BEGINNING = re.compile(r"\s*([A-Za-z_][\w.-]*)?\s*(\()?")
_TOKEN = re.compile(r"""[\\"'()\[\]{}]""")
_CONSTANTS = {"true": True, "false": False, "null": None}
_MAX_NAME = 80


class PythonicBody(Body):
    """A list of calls, after its `[`; ends at its `]`. Text in brackets that does not begin like a call is text.

    Within an answer only a call of a known tool counts: there `[like this (and that)]` is more likely.
    """

    def __init__(self, opening: str, signatures: Signatures, *, first: bool) -> None:
        super().__init__(opening, signatures, first=first)
        self._certain = False
        self._depth = 1
        self._quote = ""
        self._escaped_at = -1
        self._seen = 0

    def feed(self, text: str) -> Verdict:
        self.text += text
        if not self._certain:
            match = _BEGINNING.match(self.text)
            assert match is not None
            if not match[2]:
                going_on = match.end() == len(self.text) and len(self.text) <= _MAX_NAME
                return Verdict.OPEN if going_on else Verdict.TEXT
            if not self.first and match[1] not in self.signatures:
                return Verdict.TEXT
            if not match[1]:
                return Verdict.TEXT
            self._certain = True
        self.end = self._find_end()
        return Verdict.OVER if self.end else Verdict.OPEN

    def calls(self) -> list[Call | BadCall]:
        return read_calls(f"[{self.text[: self.end]}")

    def finish(self) -> list[Call | BadCall] | None:
        return super().finish() if self._certain else None

    def _find_end(self) -> int:
        for mark in _TOKEN.finditer(self.text, self._seen):
            at, character = mark.start(), mark[0]
            if at == self._escaped_at:
                continue
            if character == "\\":
                self._escaped_at = at + 1
            elif self._quote:
                self._quote = "" if character == self._quote else self._quote
            elif character in "\"'":
                self._quote = character
            else:
                self._depth += 1 if character in "([{" else -1
                if not self._depth:
                    return mark.end()
        self._seen = len(self.text)
        return 0


def read_calls(text: str) -> list[Call | BadCall]:
    """The calls of a Python list of calls, or a single one."""
    name = re.search(r"[A-Za-z_][\w.]*", text)
    broken = BadCall(name[0] if name else "", text, "the call is not valid Python")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [broken]
    nodes = tree.elts if isinstance(tree, ast.List) else [tree]
    return [_call(node, text) for node in nodes] or [broken]


def _call(node: ast.expr, text: str) -> Call | BadCall:
    if not isinstance(node, ast.Call):
        return BadCall("", text, "this is no call")
    name = ast.unparse(node.func)
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        return BadCall(name, text, "the arguments have no names")
    try:
        arguments = {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return BadCall(name, text, "the arguments are no plain values")
    return call(name, arguments)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    return ast.literal_eval(node)


PYTHONIC = ToolFormat(
    "pythonic", ("[",), PythonicBody, signs=("[func_name1(", "[get_weather(", "func_name1(params"), bare=True
)
