"""Calls between tags: Hermes and Qwen (`<tool_call>…</tool_call>`), Phi, Granite, Jamba, Cohere, LFM2.

What stands between the tags tells how it is written: JSON, Qwen Coder's `<function=…>`, GLM's `<arg_key>`, or Python.
Pure.
"""

import json
import re
from collections.abc import Iterable

from services.llm.tools import json_calls, pythonic
from services.llm.tools.json_calls import JsonEnd
from services.llm.tools.parser import BadCall, Body, Call, Signatures, ToolFormat, Verdict

_CLOSINGS = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<|tool_call|>": "<|/tool_call|>",
    "<|tool_call_start|>": "<|tool_call_end|>",
    "<|START_ACTION|>": "<|END_ACTION|>",
}
_JSON = re.compile(r"\s*(?:\[\s*)?\{")
_FUNCTION = re.compile(r"<function=([^>\s]{1,200})>(.*)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]{1,200})>\n?(.*)", re.DOTALL)
_MAX_DOUBT = 200
"""Characters for which a closing tag inside a JSON string may turn out to be a part of the string."""


class TaggedBody(Body):
    """Ends at its closing tag. One inside a JSON string is part of the string, where that string ever ends."""

    def __init__(self, opening: str, signatures: Signatures, *, first: bool) -> None:
        super().__init__(opening, signatures, first=first)
        self._closing = _CLOSINGS[opening]
        self._json = JsonEnd()
        self._json_ended = False
        self._searched = 0
        self._doubted = -1
        """Where the first closing tag is that stands in a JSON string."""
        self._content = 0

    def feed(self, text: str) -> Verdict:
        self.text += text
        while (at := self.text.find(self._closing, self._searched)) >= 0:
            if self._refuted(at):
                return self._over(self._doubted)
            if not self._in_string(at):
                return self._over(at)
            if self._doubted < 0:
                self._doubted = at
            self._searched = at + len(self._closing)
        self._searched = max(self._searched, len(self.text) - len(self._closing) + 1)
        # What may be the beginning of a closing tag does not count yet: it is not there where all comes at once.
        return self._over(self._doubted) if self._refuted(self._searched) else Verdict.OPEN

    def finish(self) -> list[Call | BadCall] | None:
        if self._doubted >= 0:
            self._over(self._doubted)
        else:
            self._content = self.end = len(self.text)
        return self.calls()

    def calls(self) -> list[Call | BadCall]:
        content = self.text[: self._content]
        function = _FUNCTION.search(content)
        if _JSON.match(content):
            return json_calls.read_calls(content)
        if function:
            return [self._typed(function[1], _parameters(function[2]))]
        if "<arg_key>" in content:
            return [self._typed(content.split("<", 1)[0].strip(), _arguments(content))]
        if self.opening == "<|tool_call_start|>":
            return pythonic.read_calls(content)
        return [BadCall(json_calls.name_in(content), content.strip(), "the call is not valid JSON")]

    def _in_string(self, at: int) -> bool:
        self._json_ended = self._json_ended or not _JSON.match(self.text) or self._json.find(self.text, at) >= 0
        return not self._json_ended and self._json.in_string

    def _refuted(self, upto: int) -> bool:
        """Whether the string with a closing tag in it goes on for too long, or into the next call."""
        if self._doubted < 0:
            return False
        after = self._doubted + len(self._closing)
        return upto - after > _MAX_DOUBT or self.text[after:].lstrip().startswith(self.opening)

    def _over(self, at: int) -> Verdict:
        self._content, self.end = at, at + len(self._closing)
        return Verdict.OVER

    def _typed(self, name: str, arguments: Iterable[tuple[str, str]]) -> Call | BadCall:
        """A call whose arguments are plain text: what the schema declares as no string is read as JSON."""
        properties = json.loads(self.signatures.get(name) or "{}").get("properties")
        read = {}
        for key, text in arguments:
            schema = properties.get(key) if isinstance(properties, dict) else None  # which may be true: anything
            declared = schema.get("type", "string") if isinstance(schema, dict) else "string"
            try:
                read[key] = text if declared == "string" else json_calls.loads(text)
            except ValueError:
                return BadCall(name, text, f"the argument {key} is not valid JSON")
        return json_calls.call(name, read)


def _parameters(content: str) -> Iterable[tuple[str, str]]:
    """Qwen Coder's, in one pass: names and values."""
    for part in content.split("</parameter>")[:-1]:
        if parameter := _PARAMETER.search(part):
            yield parameter[1], parameter[2].removesuffix("\n")


def _arguments(content: str) -> Iterable[tuple[str, str]]:
    """GLM's, in one pass."""
    for part in content.split("</arg_value>")[:-1]:
        head, _, value = part.partition("<arg_value>")
        key = head.rpartition("<arg_key>")[2].rstrip()
        if key.endswith("</arg_key>"):
            yield key.removesuffix("</arg_key>"), value


HERMES = ToolFormat(
    "hermes",
    ("<tool_call>",),
    TaggedBody,
    signs=("<tool_call>",),
    tokens=("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)
"""Hermes, Qwen 2.5 and 3, Qwen Coder, GLM, Granite 4, SmolLM3."""
TAGGED_LISTS = ToolFormat(
    "tagged list",
    tuple(opening for opening in _CLOSINGS if opening != "<tool_call>"),
    TaggedBody,
    signs=("<|tool_call|>", "<|tool_call_start|>", "<|START_ACTION|>", "<tool_calls>"),
    tokens=tuple(tag for pair in _CLOSINGS.items() if pair[0] != "<tool_call>" for tag in pair),
)
"""Phi-4 mini, Granite 3, LFM2, Command R7B and later, Jamba."""
