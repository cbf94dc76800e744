"""Text that repeats one mark without end takes the time that its length says; its square or cube would take minutes."""

from contextlib import suppress

import pytest

from services.common.errors import ParleyError
from services.llm.conversation import summary
from services.llm.domain import Finished, FinishReason, TextDelta, Tool
from services.llm.speech.segments import Segmenter
from services.llm.tools.formats import FORMATS, with_marks
from services.llm.tools.parser import ToolCallParser
from services.llm.turn import Turn
from services.tts import text as tts_text

LENGTH = 20_000
MARKS = (
    *(
        "<tool_call><function=f><parameter=a>",
        "<tool_call>f<arg_key>",
        "<summary",
        "{",
        "[",
        "<",
        "> ",
        ">",
        "# ",
        "- ",
    ),
    *("**", "`", "| a ", "[a](", "a.", "e.g. ", "...", "\n", " ", "\u0301", "👋", "<think>", "[TOOL_CALLS]f"),
    *("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>", "[f(a=1),"),
)
pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("mark", MARKS)
def test_one_mark_without_end(mark: str) -> None:
    text = mark * (LENGTH // len(mark))
    turn = Turn(Segmenter(1, 2, 20), (Tool("f", "", '{"properties": {"a": true}}'),))
    with suppress(ParleyError):  # nothing to say
        turn.feed(TextDelta(text))
        turn.feed(Finished(FinishReason.STOP))
    for known in FORMATS:
        parser = ToolCallParser(with_marks(known), {"f": ""})
        parser.feed(text)
        parser.finish()
    with suppress(ParleyError):  # no summary
        summary.parse(text)
    for sentence in tts_text.sentences(tts_text.clean(text)):
        tts_text.cut(sentence, 10_000)
