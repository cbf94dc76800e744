"""Every format of tool calls, and which one a chat template writes. Pure."""

from collections.abc import Iterable

from services.llm.tools.llama import LLAMA, PYTHON_TAG
from services.llm.tools.mistral import MISTRAL
from services.llm.tools.parser import Call, Signatures, ToolCallParser, ToolFormat
from services.llm.tools.pythonic import PYTHONIC
from services.llm.tools.sections import SECTIONS
from services.llm.tools.tagged import HERMES, TAGGED_LISTS

_MARKED = (HERMES, TAGGED_LISTS, SECTIONS, MISTRAL, PYTHON_TAG)
"""What begins with a mark of its own: such a mark is never spoken, whatever the model."""
FORMATS = (HERMES, TAGGED_LISTS, SECTIONS, MISTRAL, LLAMA, PYTHONIC)


def with_marks(known: ToolFormat | None) -> tuple[ToolFormat, ...]:
    """A model's own format, and the marks of all others: some models write another's."""
    if known is None or known in _MARKED:
        return _MARKED
    return (*(other for other in _MARKED if not any(mark.startswith(known.openings) for mark in other.openings)), known)


def told_by_call(rendered: str, name: str, arguments_json: str, signatures: Signatures) -> ToolFormat | None:
    """The format in which a chat template wrote this call: the one that reads it back."""
    return next((known for known in FORMATS if Call(name, arguments_json) in _read(known, rendered, signatures)), None)


def told_by_template(template: str) -> ToolFormat | None:
    """The format of which a chat template's text has a sign; None where it has none."""
    return next((known for known in FORMATS if any(sign in template for sign in known.signs)), None)


def _read(known: ToolFormat, text: str, signatures: Signatures) -> Iterable[object]:
    parser = ToolCallParser((known,), signatures)
    return (*parser.feed(text), *parser.finish())
