"""Calls written as JSON: `{"name": …, "arguments": {…}}`, alone or in a list. Pure."""

import json
import re
from typing import Any, NoReturn

from services.llm.tools.parser import BadCall, Call

_STRUCTURE = re.compile(r'["\\{}\[\]]')
_NAME = re.compile(r'"(?:name|tool_name)"\s*:\s*"([^"\\]*)"')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NAMES = ("name", "tool_name")
ARGUMENTS = frozenset({"arguments", "parameters"})
"""What models call the arguments."""


class JsonEnd:
    """Finds where a JSON object or list ends, in any chunking."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped_at = -1
        self._seen = 0

    @property
    def in_string(self) -> bool:
        """Whether what was searched so far ends within a string."""
        return self._in_string

    def find(self, text: str, limit: int | None = None) -> int:
        """Where the value that `text` begins with ends, -1 where it does not before `limit`.

        Between calls `text` only grows, and so does `limit`: nothing is read twice.
        """
        limit = len(text) if limit is None else limit
        for mark in _STRUCTURE.finditer(text, self._seen, limit):
            at, character = mark.start(), mark[0]
            if self._in_string:
                if at == self._escaped_at:
                    continue
                if character == "\\":
                    self._escaped_at = at + 1
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return mark.end()
        self._seen = max(self._seen, limit)
        return -1


def read_calls(text: str) -> list[Call | BadCall]:
    """The calls of a JSON object, or of a list of them."""
    try:
        value = loads(text)
    except ValueError:
        return [BadCall(name_in(text), text, "the call is not valid JSON")]
    return [read_call(item) for item in (value if isinstance(value, list) else [value])]


def read_call(value: Any) -> Call | BadCall:
    """The call that a JSON value is; an OpenAI-like `{"function": {…}}` around it goes."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return BadCall("", dumps(value), "the call is no JSON object")
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "")
    if not name and isinstance(value.get("function"), str):
        name = value["function"]
    if not name:
        return BadCall("", dumps(value), "the call names no tool")
    return call(name, next((value[key] for key in ARGUMENTS if key in value), {}))


def call(name: str, arguments: Any) -> Call | BadCall:
    """A call with its arguments; JSON text in place of an object is read, nothing at all is no arguments."""
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments) if arguments.strip() else {}
        except ValueError:
            return BadCall(name, arguments, "the arguments are not valid JSON")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return BadCall(name, dumps(arguments), "the arguments are no JSON object")
    return Call(name, dumps(arguments))


def loads(text: str) -> Any:
    """JSON, strictly: no NaN, no Infinity, no half of a character, which no message could carry.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
        if _SURROGATE.search(text):
            dumps(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dumps(value: Any) -> str:
    """JSON text as chat templates write it."""
    return json.dumps(value, ensure_ascii=False)


def name_in(text: str) -> str:
    """The tool that broken JSON seems to name, "" where it names none."""
    match = _NAME.search(text)
    return match[1] if match else ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
