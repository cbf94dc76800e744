"""What a language model writes."""

import re
from collections.abc import Iterable

import orjson

from services.common.errors import UpstreamError
from services.llm.backends.local_answer import LocalAnswer
from services.llm.conversation import summary
from services.llm.domain import Finished, FinishReason, ReasoningDelta, TextDelta, Tool
from services.llm.speech.segments import Segmenter
from services.llm.speech.thinking import CLOSINGS, OPENINGS, Kind, ThinkingFilter
from services.llm.tools.formats import FORMATS, with_marks
from services.llm.tools.parser import BadCall, Call, Found, ToolCallParser
from services.llm.turn import Turn
from tests.fuzz.targets.registry import in_pieces, target

_TOOLS = {
    "f": '{"properties": {"a": {"type": "integer"}, "b": true, "c": {"type": ["string", "null"]}}}',
    "get_time": "",
}


_STRAY = re.compile("</tool_call>|<tool_response>|</tool_response>")
_THINKING = re.compile("|".join(map(re.escape, OPENINGS + CLOSINGS)))


@target("c")
def tool_calls(data: bytes) -> None:
    """Tool calls in a model's text: the same in any chunking; the text around them is the model's, in its order."""
    known = [*FORMATS, None][data[0] % (len(FORMATS) + 1)] if data else None
    text = data[1:].decode(errors="ignore")

    def found(chunks: Iterable[str]) -> list[Found]:
        parser, joined = ToolCallParser(with_marks(known), _TOOLS), list[Found]()
        for item in [item for chunk in chunks for item in parser.feed(chunk)] + parser.finish():
            if isinstance(item, str) and joined and isinstance(joined[-1], str):
                joined[-1] += item
            elif isinstance(item, str | Call | BadCall):
                joined.append(item)
        return joined

    whole = found([text])
    assert whole == found(in_pieces(text))
    _in_order("".join(item for item in whole if isinstance(item, str)), text)
    for item in whole:
        if isinstance(item, Call):
            assert isinstance(orjson.loads(item.arguments_json), dict)
        elif isinstance(item, BadCall):
            (item.name + item.text + item.error).encode()
    if not any(isinstance(item, Call | BadCall) for item in whole) and not _STRAY.search(text):
        assert "".join(item for item in whole if isinstance(item, str)).strip() == text.strip()


@target("t")
def thinking(data: bytes) -> None:
    """Thinking: all text but the tags, in its order, the same in any chunking."""
    text = data.decode(errors="ignore")

    def sorted_out(chunks: Iterable[str]) -> list[tuple[Kind, str]]:
        thoughts, joined = ThinkingFilter(), list[tuple[Kind, str]]()
        for part in [part for chunk in chunks for part in thoughts.feed(chunk)] + thoughts.finish():
            if joined and joined[-1][0] is part.kind and part.text:
                joined[-1] = (part.kind, joined[-1][1] + part.text)
            else:
                joined.append((part.kind, part.text))
        return joined

    whole = sorted_out([text])
    assert whole == sorted_out(in_pieces(text))
    assert "".join(said for _, said in whole) == _THINKING.sub("", text)


@target("a")
def answer(data: bytes) -> None:
    """A whole answer to deltas, thoughts, calls and speech segments."""
    text = data.decode(errors="ignore")
    tools = tuple(Tool(name, "", schema) for name, schema in _TOOLS.items())

    def said(chunks: Iterable[str], *, deadlines: bool = False) -> tuple[str, str]:
        turn = Turn(Segmenter(1, 2, 20), tools)
        outputs = []
        try:
            for chunk in chunks:
                outputs += turn.feed(TextDelta(chunk))
                outputs += turn.flush_deadline() if deadlines else ()
            outputs += turn.feed(Finished(FinishReason.STOP))
        except UpstreamError:
            pass  # the answer is empty
        kinds = (TextDelta, ReasoningDelta)
        texts = tuple("".join(o.text for o in outputs if isinstance(o, kind)) for kind in kinds)
        return texts[0], texts[1]

    whole = said([text])
    assert whole == said(in_pieces(text)) == said(in_pieces(text), deadlines=True)
    local = LocalAnswer(FORMATS[len(text) % len(FORMATS)], tools)
    for chunk in in_pieces(text):
        local.feed(chunk)
    local.finish()


@target("z")
def summary_text(data: bytes) -> None:
    """A model's answer to the request for a summary."""
    try:
        summary.parse(data.decode(errors="ignore"), cut_short=bool(data) and data[0] % 2 == 0)
    except UpstreamError:
        return


def _in_order(part: str, whole: str) -> None:
    """Check that all of a text stands in another, in its order."""
    at = 0
    for character in part:
        at = whole.find(character, at) + 1
        assert at, f"{character!r} is not the model's, or out of order"
