"""Sentences end where they end, in every script, and nowhere else."""

import pytest

from services.llm.speech.sentences import MAX_SENTENCE, MAX_UNSPACED, SentenceSplitter


def cut(*chunks: str) -> list[str]:
    splitter = SentenceSplitter()
    sentences = [sentence for chunk in chunks for sentence in splitter.feed(chunk)] + splitter.finish()
    return [sentence.text.strip() for sentence in sentences]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello there.", "How are you?", "Fine!", "And you"],
        ["你好。", "我很好！", "真的吗？", "是"],
        ["यह हिन्दी है।", "ठीक है॥", "हाँ"],
        ["هل أنت بخير؟", "نعم."],
        ["Wait...", "What?", "Well…", "Yes."],
        ["He said “Go.”", "Then he left."],
        ["Really?!", "(Yes!)", "Good."],
        ["She has a Ph.D. and a B.A. from the U.S. embassy.", "It is 5 p.m. now.", "Go."],
        ["We met at 5 p.m.", "Then we left, etc.", "Done."],
        ["What about No. 5?", "No.", "I mean it."],
        ["It costs 3.14 dollars.", "Version 2.0.", "Good."],
        ["See https://a.b/c?d=e!f now.", "Mail a@b.com.", "End."],
        ["So do I.", "J. R. Smith does."],
    ],
)
def test_edge_06_sentences_end_where_they_end(sentences: list[str]) -> None:
    joined = " ".join(sentences)
    assert cut(joined) == cut(*joined) == sentences


def test_edge_06_cjk_sentences_need_no_space_between_them() -> None:
    assert cut("你好。我很好！“真的吗？”他问。") == ["你好。", "我很好！", "“真的吗？”", "他问。"]


@pytest.mark.parametrize(
    "text",
    ["Use e.g. this one.", "Dr. Who, Mr. X and St. Paul.", "About 3.14 or 1,000.5 of it.", "The U.S. Army came."],
)
def test_edge_06_abbreviations_and_numbers_end_nothing(text: str) -> None:
    assert cut(text) == [text]


def test_edge_06_the_number_of_a_list_item_ends_nothing() -> None:
    assert cut("1. Wash it. 2. Dry it.") == ["1. Wash it.", "2. Dry it."]


def test_edge_04_spaces_at_chunk_borders_are_kept_and_sentences_never_fuse() -> None:
    assert cut("What is ", "the", " time", "?", " Five", ".", " Ok", ".") == ["What is the time?", "Five.", "Ok."]


@pytest.mark.parametrize(
    ("text", "then"),
    [("Hello there.", " "), ("Hello!", " "), ("你好。", "我"), ("Hello.", "\n"), ("He said “Hi.”", " ")],
)
def test_a_sentence_is_out_with_the_character_that_makes_its_end_certain(text: str, then: str) -> None:
    splitter = SentenceSplitter()
    assert splitter.feed(text) == []
    assert [sentence.text for sentence in splitter.feed(then)] == [text]


def test_an_abbreviation_that_may_end_a_sentence_waits_for_the_next_word() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("Apples, pears, etc. ") == []
    assert [sentence.text for sentence in splitter.feed("T")] == ["Apples, pears, etc."]


def test_edge_07_endless_text_is_cut_after_a_clause() -> None:
    sentences = cut("one two three, " * 60)
    assert len(sentences) > 1
    assert all(len(sentence) <= MAX_SENTENCE and sentence.endswith(",") for sentence in sentences[:-1])


def test_edge_07_endless_text_without_clauses_is_cut_at_a_space() -> None:
    sentences = cut("word " * 200)
    assert len(sentences) > 1
    assert set(" ".join(sentences).split()) == {"word"}


def test_edge_07_endless_text_without_spaces_is_cut_between_letters_and_not_before_their_marks() -> None:
    text = "कि" * 450
    sentences = cut(text)
    assert "".join(sentences) == text
    assert len(sentences) > 1
    assert all(sentence.startswith("क") for sentence in sentences)


@pytest.mark.parametrize("word", ["ประเทศไทยกำลังน่าเที่ยว", "今天天气很好我们", "わたしはいまとてもうれしいです"])
def test_edge_07_text_without_spaces_is_cut_sooner_and_between_letters(word: str) -> None:
    text = word * 40
    sentences = cut(text)
    assert "".join(sentences) == text
    assert all(100 < len(sentence) <= MAX_UNSPACED for sentence in sentences[:-1])
    assert not any(sentence[0] in "ะาำ่้" or sentence[-1] in "เแโใไ" for sentence in sentences)


def test_thai_is_cut_at_spaces_by_length() -> None:
    phrase = "สวัสดีครับวันนี้อากาศดีมาก"
    sentences = cut(" ".join([phrase] * 12))
    assert len(sentences) > 1
    assert all(80 <= len(sentence) < 120 for sentence in sentences[:-1])
    assert " ".join(sentences) == " ".join([phrase] * 12)


def test_joined_text_has_no_end_inside_but_may_end_a_sentence() -> None:
    splitter = SentenceSplitter()
    sentences = splitter.feed("Go ") + splitter.feed("now. Or. never.", joined=True) + splitter.feed(" Yes. ")
    assert [sentence.text for sentence in sentences] == ["Go now. Or. never.", " Yes."]


def test_a_paragraph_ends_a_sentence_without_a_full_stop() -> None:
    splitter = SentenceSplitter()
    splitter.feed("A title")
    assert [sentence.text for sentence in splitter.end_paragraph()] == ["A title\n"]


def test_what_nobody_can_speak_is_no_sentence() -> None:
    assert cut("... ") == cut("!!! ") == cut("—") == []
    assert cut("... Yes.") == ["... Yes."]
