"""Answers in five scripts, with thinking, tool calls and Markdown, in any chunking: what is spoken is all of it."""

import re
import unicodedata
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.llm.backends.local_answer import LocalAnswer
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    InvalidToolCall,
    ReasoningDelta,
    SpeechSegment,
    TextDelta,
    Tool,
    ToolCallEvent,
    TurnOutput,
)
from services.llm.speech.segments import Segmenter
from services.llm.speech.speakable import Kind, Speakable
from services.llm.tools.tagged import HERMES
from services.llm.turn import Turn

TOOLS = (Tool("get_time", "", ""),)
WORDS = {
    "Latin": ["Hello", "naïve", "e.g.", "Dr.", "3.14", "U.S.", "2*3", "snake_case", "don’t", "20°C", "€5", "a+b=c"],
    "CJK": ["你好", "今天天气很好", "それは", "いいですね", "좋아요"],
    "Devanagari": ["हिन्दी", "नमस्ते", "क्या", "श्रीमान्", "१२"],
    "Arabic": ["مرحبا", "كيف", "مُحَمَّد", "٣٫١٤"],
    "Thai": ["สวัสดีครับ", "น้ำ", "เที่ยว", "กำลัง"],
}
ENDS = {"Latin": ".!?…:,", "CJK": "。！？，", "Devanagari": "।?!", "Arabic": ".؟!،", "Thai": " "}
MARKUP = [
    "**{}**",
    "*{}*",
    "`{}`",
    "[{}](https://a.b/c)",
    "# {}\n",
    "\n\n- {}\n",
    "\n\n> {}\n\n",
    "\n```\n{}\n```\n",
    "{} 👋 ",
]
MARKS = re.compile(r"think|tool_call|TOOL_CALLS|arguments|[<>{}]|\]\(|```")


@st.composite
def sentences(draw: st.DrawFn) -> str:
    """Some words of one script, with an end or without, in Markdown or not."""
    script = draw(st.sampled_from(list(WORDS)))
    glue = draw(st.sampled_from(["", " "])) if script in ("CJK", "Thai") else " "
    text = glue.join(draw(st.lists(st.sampled_from(WORDS[script]), min_size=1, max_size=12)))
    text += draw(st.sampled_from(["", *ENDS[script]]))
    return draw(st.sampled_from(["{}"] * 4 + MARKUP)).format(text)


@dataclass(frozen=True)
class Answer:
    """What a model writes, and of what kind each piece is."""

    pieces: tuple[tuple[str, str], ...]

    @property
    def written(self) -> str:
        tags = {"thought": "<think>{}</think>", "call": "<tool_call>{}</tool_call>"}
        return "".join(tags.get(kind, "{}").replace("{}", text) for kind, text in self.pieces)

    def of(self, kind: str) -> list[str]:
        return [text for known, text in self.pieces if known == kind]


CALLS = st.sampled_from(
    ['{"name": "get_time"}', '{"name": "get_time", "arguments": {"a": "</think> x <b"}}', "{", "oops"]
)
ANSWERS = st.builds(
    lambda pieces: Answer(tuple(pieces)),
    st.lists(
        st.one_of(
            st.tuples(st.just("text"), sentences().map(lambda text: text + " ")),
            st.tuples(st.just("thought"), sentences()),
            st.tuples(st.just("call"), CALLS),
        ),
        min_size=1,
        max_size=8,
    ),
)


def chunked(text: str, data: st.DataObject) -> list[str]:
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=40)))
    return [text[a:b] for a, b in zip([0, *borders], [*borders, len(text)], strict=True)]


def play(chunks: list[str], *, deadline: bool = False, first: int = 1) -> list[TurnOutput]:
    """The outputs of a turn; neighbouring deltas of a kind joined."""
    turn = Turn(Segmenter(first, 2, 20), TOOLS)
    joined: list[TurnOutput] = []
    for chunk in ["Hm: ", *chunks, None]:
        event = Finished(FinishReason.STOP) if chunk is None else TextDelta(chunk)
        for output in [*turn.feed(event), *(turn.flush_deadline() if deadline else ())]:
            last = joined[-1] if joined else None
            if isinstance(output, TextDelta) and isinstance(last, TextDelta):
                joined[-1] = TextDelta(last.text + output.text)
            elif isinstance(output, ReasoningDelta) and isinstance(last, ReasoningDelta):
                joined[-1] = ReasoningDelta(last.text + output.text)
            else:
                joined.append(output)
    return joined


def spoken(outputs: list[TurnOutput]) -> list[str]:
    return [output.text for output in outputs if isinstance(output, SpeechSegment)]


def plain(outputs: list[TurnOutput]) -> str:
    """All text with its Markdown taken out in one piece; borders of paragraphs and calls are white space."""
    text = ""
    calls = (ToolCallEvent, InvalidToolCall)
    written = "".join(o.text if isinstance(o, TextDelta) else "\0" if isinstance(o, calls) else "" for o in outputs)
    for part in written.split("\0"):
        speakable = Speakable()
        pieces = [*speakable.feed(part), *speakable.finish()]
        text += "".join(" " if piece.kind is Kind.BREAK else piece.text for piece in pieces) + " "
    return text


def letters(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or unicodedata.category(c).startswith("M"))


def comparable(outputs: list[TurnOutput]) -> list[object]:
    """Outputs without what is drawn at random."""
    return [
        output.call.name
        if isinstance(output, ToolCallEvent)
        else (output.name, output.arguments_text, output.error)
        if isinstance(output, InvalidToolCall)
        else output
        for output in outputs
    ]


@given(ANSWERS, st.data())
def test_whatever_the_chunking_the_same_segments_thoughts_and_calls(answer: Answer, data: st.DataObject) -> None:
    text = answer.written
    whole, by_character = play([text]), play(list(text))
    kinds = (SpeechSegment, ToolCallEvent, InvalidToolCall)
    assert [o for o in comparable(whole) if not isinstance(o, TextDelta | ReasoningDelta)] == [
        o for o in comparable(by_character) if not isinstance(o, TextDelta | ReasoningDelta)
    ]
    for other in (by_character, play(chunked(text, data))):
        assert [type(o) for o in whole if isinstance(o, kinds)] == [type(o) for o in other if isinstance(o, kinds)]
        assert spoken(whole) == spoken(other)
        for kind in (TextDelta, ReasoningDelta):
            assert "".join(o.text for o in whole if isinstance(o, kind)) == "".join(
                o.text for o in other if isinstance(o, kind)
            )


@given(ANSWERS, st.integers(1, 3), st.data())
def test_no_letter_is_lost_or_doubled_and_no_two_words_are_glued(
    answer: Answer, first: int, data: st.DataObject
) -> None:
    outputs = play(chunked(answer.written, data), first=first)
    expected = plain(outputs)
    assert letters("".join(spoken(outputs))) == letters(expected)
    words = [word for word in (letters(word) for word in " ".join(spoken(outputs)).split()) if word]
    # A cut between two sentences or clauses may only add a space, never take one away.
    whole = "".join(letters(word) + " " for word in expected.split() if letters(word))
    assert _is_refined(words, whole.split())


def _is_refined(words: list[str], whole: list[str]) -> bool:
    """Whether the words are those of the whole, each in one piece or in several."""
    left = iter(words)
    for word in whole:
        built = ""
        while len(built) < len(word):
            built += next(left, word + "!")
        if built != word:
            return False
    return next(left, None) is None


@given(ANSWERS, st.data())
def test_no_markup_of_thinking_or_tools_is_spoken_and_thoughts_are_thoughts(
    answer: Answer, data: st.DataObject
) -> None:
    outputs = play(chunked(answer.written, data))
    assert not [text for text in spoken(outputs) if MARKS.search(text.replace("a+b=c", ""))]
    thought = "".join(output.text for output in outputs if isinstance(output, ReasoningDelta))
    assert thought == "".join(answer.of("thought"))
    calls = [output for output in outputs if isinstance(output, ToolCallEvent | InvalidToolCall)]
    assert [isinstance(call, ToolCallEvent) for call in calls] == ["name" in text for text in answer.of("call")]


@given(ANSWERS, st.data())
def test_a_deadline_at_any_time_loses_nothing_and_doubles_nothing(answer: Answer, data: st.DataObject) -> None:
    outputs = play(chunked(answer.written, data), deadline=True)
    assert letters("".join(spoken(outputs))) == letters(plain(outputs))
    indexes = [output.index for output in outputs if isinstance(output, SpeechSegment)]
    assert indexes == list(range(len(indexes)))


@given(st.sampled_from(list(WORDS)), st.data())
def test_edge_07_text_that_never_ends_is_cut_between_what_a_reader_takes_for_characters(
    script: str, data: st.DataObject
) -> None:
    glue = "" if script in ("CJK", "Thai", "Devanagari") else " "
    words = data.draw(st.lists(st.sampled_from([w for w in WORDS[script] if "." not in w]), min_size=150, max_size=200))
    segments = spoken(play([glue.join(words)]))
    assert len(segments) > 1
    assert all(len(text) <= 420 for text in segments)
    assert letters("".join(segments)) == letters("Hm" + "".join(words))
    assert not [text for text in segments if unicodedata.category(text[0]).startswith("M")]
    assert not [text for text in segments if text[0] in "ะาำ" or (text[-1] in "เแโใไ\u094d" and text != segments[-1])]


@given(ANSWERS, st.booleans(), st.data())
def test_what_a_local_backend_has_sorted_already_comes_out_the_same(
    answer: Answer, unopened: bool, data: st.DataObject
) -> None:
    text = ("I wonder</think>" if unopened else "") + answer.written + "Well."
    sorter, turn = LocalAnswer(HERMES, TOOLS), Turn(Segmenter(1, 2, 20), TOOLS)
    events: list[BackendEvent] = [event for chunk in ["Hm: ", *chunked(text, data)] for event in sorter.feed(chunk)]
    events += [*sorter.finish(), Finished(FinishReason.STOP)]
    outputs = [output for event in events for output in turn.feed(event)]
    alone = play([text])
    assert [o for o in comparable(outputs) if not isinstance(o, TextDelta | ReasoningDelta)] == [
        o for o in comparable(alone) if not isinstance(o, TextDelta | ReasoningDelta)
    ]
    for kind in (TextDelta, ReasoningDelta):
        assert "".join(o.text for o in outputs if isinstance(o, kind)) == "".join(
            o.text for o in alone if isinstance(o, kind)
        )
