"""Speech segments: how many sentences they hold, and that nothing is lost, doubled or glued on the way."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.speech.segments import Segmenter

# Letters that markup never takes away, so that they must all come out again.
_WORDS = st.sampled_from(
    ["Alpha", "beta", "γάμμα", "नमस्ते", "สวัสดี", "你好", "مرحبا", "3.14", "e.g.", "U.S.", "x_y", "2*3"]
)
_BETWEEN = st.sampled_from(
    [" ", ". ", "! ", "? ", "。", "।", "؟ ", ", ", "... ", "\n", "\n\n", "\n- ", "\n1. ", " 👋 ", " — "]
)
_MARKUP = st.sampled_from(["**", "*", "_", "`", "~~", "# ", "> ", "[", "](", ")", "```\n", "|", "\\", "<", "!"])
_TEXTS = st.lists(st.one_of(_WORDS, _BETWEEN, _MARKUP), max_size=60).map("".join)


def segments(chunks: Iterable[str], first: int = 1, later: int = 3, clause: int = 0) -> list[tuple[str, int]]:
    segmenter = Segmenter(first, later, clause)
    made = [segment for chunk in chunks for segment in segmenter.feed(chunk)] + segmenter.flush()
    assert [segment.index for segment in made] == list(range(len(made)))
    return [(segment.text, segment.sentence_count) for segment in made]


def test_the_first_segment_is_small_and_the_others_hold_batches() -> None:
    made = segments(["One. Two. Three. Four. Five. Six."])
    assert made == [("One.", 1), ("Two. Three. Four.", 3), ("Five. Six.", 2)]


def test_a_segment_is_out_as_soon_as_its_sentence_is_certain() -> None:
    segmenter = Segmenter(1, 3)
    assert segmenter.feed("Hello there.") == []
    assert [segment.text for segment in segmenter.feed(" How")] == ["Hello there."]


def test_the_first_segment_may_end_at_a_clause_and_the_rest_of_its_sentence_goes_alone() -> None:
    text = "Well, that is a good question, because nobody knows. Not even I. Or you. Or they."
    assert [text for text, _ in segments([text], clause=20)] == [
        "Well, that is a good question,",
        "because nobody knows.",
        "Not even I. Or you. Or they.",
    ]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("To cook rice you need a pot of water and some salt.", "To cook rice you need a pot of water"),
        ("The sky is blue this morning because the light scatters.", "The sky is blue this morning"),
        ("Das Wetter ist heute schön, aber morgen regnet es.", "Das Wetter ist heute schön,"),
        ("Das Wetter ist heute schön und warm.", "Das Wetter ist heute schön"),
        ("You and I are good friends of Andy.", "You and I are good friends of Andy."),
        ("We have a very big android here.", "We have a very big android here."),
    ],
)
def test_the_first_segment_may_end_before_a_conjunction(text: str, first: str) -> None:
    for chunks in ([text], list(text)):
        made = [text for text, _ in segments(chunks, clause=20)]
        assert made[0] == first
        assert " ".join(made) == text


def test_a_clause_is_out_at_the_space_after_it() -> None:
    segmenter = Segmenter(1, 3, 20)
    assert segmenter.feed("Well, that is a good question,") == []
    assert [segment.text for segment in segmenter.feed(" ")] == ["Well, that is a good question,"]


@pytest.mark.parametrize(
    "text",
    [
        "It costs 1,000,000,000,000,000 euros.",  # no clause inside a number
        "Hello there. Then a long sentence, with a clause.",  # the first sentence came first
        "**Let me check that now, please.** Done.",  # nor inside a markdown pair
    ],
)
def test_no_clause_is_cut_where_there_is_none_to_cut(text: str) -> None:
    assert segments([text], clause=20) == segments([text])


def test_edge_01_a_bold_sentence_is_not_cut_inside_its_pair() -> None:
    assert [text for text, _ in segments("**Let me check. One moment.** Here it is.")] == [
        "Let me check. One moment.",
        "Here it is.",
    ]


def test_edge_03_an_unclosed_fence_does_not_hold_the_rest_back() -> None:
    segmenter = Segmenter(1, 1)
    made = [segment for _ in range(60) for segment in segmenter.feed("```\n" if not _ else "print(1)\n")]
    assert made
    assert all("`" not in segment.text for segment in made)


def test_edge_04_two_sentences_never_fuse() -> None:
    assert segments(["What is ", "the", " plan?", "Well", "? ", "Yes."], 3, 3) == [("What is the plan?Well? Yes.", 2)]
    assert segments(["One.", "\n", "Two."], 3, 3) == [("One. Two.", 2)]


def test_edge_08_what_there_is_goes_out_before_a_tool_call_and_the_index_goes_on() -> None:
    segmenter = Segmenter(2, 3)
    assert segmenter.feed("Let me look that up") == []
    assert [(segment.index, segment.text) for segment in segmenter.flush()] == [(0, "Let me look that up")]
    segmenter.feed("It is sunny")
    assert [(segment.index, segment.text) for segment in segmenter.flush()] == [(1, "It is sunny")]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("I am quite sure that this is tr", "I am quite sure that this is"),
        ("I am quite sure of it ", "I am quite sure of it"),
        ("I am quite su", None),  # too short
        ("Really?", "Really?"),  # an end that lacks its space
        ("真的吗？", "真的吗？"),
        ("Pi is about 3.", None),  # perhaps no end
        ("Look at https://example.org/a?", None),
        ("I said **that it is all true and", None),  # inside a pair
        ("นี่คือประโยคที่ยาวมากที่สุด แล้ว", "นี่คือประโยคที่ยาวมากที่สุด"),
        ("...", None),
    ],
)
def test_whole_words_of_the_first_segment_go_at_its_deadline(text: str, cut: str | None) -> None:
    segmenter = Segmenter(1, 3, 20)
    made = segmenter.feed(text) + segmenter.flush_deadline()
    assert [segment.text for segment in made] == ([cut] if cut else [])


def test_after_the_first_segment_no_deadline_cuts() -> None:
    segmenter = Segmenter(1, 3, 20)
    segmenter.feed("Hello there. I am quite sure that this is")
    assert not segmenter.waits
    assert segmenter.flush_deadline() == []
    assert [segment.text for segment in segmenter.flush()] == ["I am quite sure that this is"]


def test_at_the_deadline_a_first_segment_of_several_sentences_gives_those_that_are_whole() -> None:
    segmenter = Segmenter(3, 3, 20)
    segmenter.feed("One. Two. I am quite sure that this is ")
    assert [segment.text for segment in segmenter.flush_deadline()] == ["One. Two."]
    assert [segment.text for segment in segmenter.feed("three. Four. Five. ")] == [
        "I am quite sure that this is three. Four. Five."
    ]


def test_the_rest_of_a_sentence_cut_at_its_deadline_goes_alone() -> None:
    segmenter = Segmenter(1, 3, 20)
    segmenter.feed("I am quite sure that this is ")
    segmenter.flush_deadline()
    assert [segment.text for segment in segmenter.feed("true. Or not. ")] == ["true."]


def test_thai_words_of_the_first_segment_end_at_a_space() -> None:
    segmenter = Segmenter(1, 3, 20)
    made = segmenter.feed("สวัสดีครับ นี่คือประโยคที่ยาวมากที่สุด แล้วก็อีก")
    assert [segment.text for segment in made] == ["สวัสดีครับ นี่คือประโยคที่ยาวมากที่สุด"]


def test_list_items_keep_apart() -> None:
    assert segments("Buy:\n- apples\n- pears\n\nBye.", 4, 4) == [("Buy:\napples\npears\nBye.", 4)]


def test_chinese_sentences_in_one_segment_get_no_space() -> None:
    assert segments("你好。再见。好。", 3, 3) == [("你好。再见。好。", 3)]


def test_a_text_cut_by_length_goes_out_at_once() -> None:
    assert len(Segmenter(3, 3).feed("word " * 100)) == 1


def test_nothing_to_say_makes_no_segment() -> None:
    assert segments("👋 ... \n\n---\n") == []


@given(_TEXTS, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 1, 8, 20]), st.data())
def test_whatever_the_chunking_the_same_segments(
    text: str, first: int, later: int, clause: int, data: st.DataObject
) -> None:
    borders = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    chunks = [text[a:b] for a, b in zip([0, *borders], [*borders, len(text)], strict=True)]
    whole = segments([text], first, later, clause)
    assert whole == segments(text, first, later, clause) == segments(chunks, first, later, clause)


@given(st.lists(st.one_of(_WORDS, _BETWEEN), max_size=60).map("".join))
def test_no_letter_is_lost_doubled_or_moved(text: str) -> None:
    spoken = "".join(text for text, _ in segments(text))
    assert re.findall(r"[^\W_]", spoken) == re.findall(r"[^\W_]", text)


@given(
    st.lists(_WORDS, min_size=1, max_size=40),
    st.lists(st.sampled_from([" ", ". ", "! ", "\n", "\n\n", " 👋 "]), min_size=40),
)
def test_no_two_words_are_glued_together(words: list[str], between: list[str]) -> None:
    text = "".join(word + space for word, space in zip(words, between, strict=False))
    spoken = " ".join(text for text, _ in segments(text))
    assert [word.strip(".!") for word in spoken.split()] == [word.strip(".!") for word in words]


@given(st.lists(_WORDS.filter(lambda word: "*" not in word), min_size=1, max_size=9).map(" ".join))
def test_edge_01_a_pair_goes_whole_whatever_stands_in_it(inner: str) -> None:
    assert segments(f"So **{inner}** it is", 1, 1) == [(f"So {inner} it is", 1)]
