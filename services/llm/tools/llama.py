"""Calls as bare JSON: `{"name": …, "parameters": {…}}`, several with `;` between, `<|python_tag|>` before them or not.

Llama 3.1, 3.2 and 3.3. Pure.
"""

from services.llm.tools import json_calls, pythonic
from services.llm.tools.json_calls import JsonEnd
from services.llm.tools.parser import CERTAIN, BadCall, Body, Call, Signatures, ToolFormat, Verdict

_PYTHON_TAG = "<|python_tag|>"
_MAX_BEGINNING = 400
"""Characters, white space among them, in which it shows whether an object is a call."""
_BEGINNINGS = ('{"name":"', '{"type":"function","name":"', '{"type":"function","function":{"name":"')


class BareJsonBody(Body):
    """A JSON object that is a call; any other is text of the answer."""

    def __init__(self, opening: str, signatures: Signatures, *, first: bool) -> None:
        super().__init__(opening, signatures, first=first)
        self._json = JsonEnd()
        self._certain = False

    def feed(self, text: str) -> Verdict:
        self.text += text
        if not self._certain:
            begun = "".join((self.opening + self.text[:_MAX_BEGINNING]).split())
            self._certain = begun.startswith(_BEGINNINGS)
            if not self._certain:
                possible = len(self.text) < _MAX_BEGINNING and any(known.startswith(begun) for known in _BEGINNINGS)
                return Verdict.OPEN if possible else Verdict.TEXT
        end = self._json.find(self.opening + self.text)
        if end < 0:
            return Verdict.OPEN
        self.end = end - len(self.opening)
        return Verdict.OVER if self._is_call() else Verdict.TEXT

    def calls(self) -> list[Call | BadCall]:
        return json_calls.read_calls(self.opening + self.text[: self.end])

    def finish(self) -> list[Call | BadCall] | None:
        return super().finish() if len(self.text) >= CERTAIN else None

    def _is_call(self) -> bool:
        """An object with a name alone may be what the user asked for."""
        try:
            value = json_calls.loads(self.opening + self.text[: self.end])
        except ValueError:
            return True
        known = value.get("name") in [*self.signatures]  # by comparison: a second "name" need not be a text
        return known or not json_calls.ARGUMENTS.isdisjoint(value) or "type" in value


class PythonTagBody(Body):
    """What follows `<|python_tag|>`, to the end of the answer: JSON calls, or a call written as Python."""

    def feed(self, text: str) -> Verdict:
        self.text += text
        return Verdict.OPEN

    def calls(self) -> list[Call | BadCall]:
        calls: list[Call | BadCall] = []
        rest = self.text.strip()
        if not rest.startswith(("{", "[")):
            return pythonic.read_calls(rest)
        while rest:
            end = JsonEnd().find(rest)
            value, rest = (rest, "") if end < 0 else (rest[:end], rest[end:].lstrip("; \n"))
            calls += json_calls.read_calls(value)
        return calls


LLAMA = ToolFormat("llama", ("{",), BareJsonBody, signs=('{"name": function name', _PYTHON_TAG), bare=True)
PYTHON_TAG = ToolFormat("python tag", (_PYTHON_TAG,), PythonTagBody, tokens=(_PYTHON_TAG,))
