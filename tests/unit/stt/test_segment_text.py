"""Interim transcripts that do not flicker, and promises that are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stt.agreement import continue_from, split, unsplit
from services.stt.domain import Recognition, RecognitionRequest, Transcript, TranscriptionOptions, Word
from services.stt.segment_text import SegmentText
from services.stt.utterance import Utterance
from tests.support.stt_doubles import PCM16


def careful(text: str, language: str = "en") -> Recognition:
    return Recognition(text, language)


def quick(text: str, language: str = "en") -> Recognition:
    return Recognition(text, language, quick=True)


def test_what_two_recognitions_begin_with_is_settled() -> None:
    segment = SegmentText()
    assert segment.interim(careful("He was.")).text == "He was."
    assert segment.stable == ""
    assert segment.interim(careful("He was not an")).text == "He was not an"
    assert segment.stable == "He"
    assert segment.interim(careful("He was not an ill")).text == "He was not an ill"
    assert segment.stable == "He was not an"


def test_what_was_settled_is_not_taken_back_and_nothing_is_lost_or_doubled_behind_it() -> None:
    segment = SegmentText()
    segment.interim(careful("He was knot an"))
    segment.interim(careful("He was knot an ill"))
    assert segment.stable == "He was knot an"
    assert segment.final(careful("He was not an ill-disposed man.")).text == "He was knot an ill-disposed man."
    assert segment.final(careful("Yes, he was not an ill man.")).text == "He was knot an ill man."
    assert segment.final(careful("")).text == "He was knot an"


def test_a_quick_model_promises_nothing_and_flickers_not() -> None:
    segment = SegmentText()
    segment.interim(quick("he was a"))
    segment.interim(quick("he was a man"))
    assert segment.interim(quick("He wasn't a man who")).text == "he was a man who"
    assert segment.stable == ""
    assert segment.at_pause(careful("He was a man.")).text == "He was a man."
    assert segment.interim(quick("He were a man who sang")).text == "He was a man who sang"
    assert segment.final(careful("He was a manager.")).text == "He was a manager."


def test_two_pauses_that_sound_alike_promise_as_interim_recognitions_do() -> None:
    segment = SegmentText()
    segment.at_pause(careful("He was."))
    segment.at_pause(careful("He was not."))
    assert segment.stable == "He"


def test_languages_without_spaces_are_settled_by_characters() -> None:
    segment = SegmentText()
    segment.interim(careful("今日は", "ja"))
    segment.interim(careful("今日はいい", "ja"))
    assert segment.stable == "今日は"
    assert segment.final(careful("京はいい天気", "ja")).text == "今日はいい天気"


def test_another_language_later_does_not_change_what_was_promised() -> None:
    segment = SegmentText()
    for _ in range(2):
        segment.interim(careful("well then", "en"))
    assert segment.final(careful("今日は", "ja")).text.startswith("well then")


@pytest.mark.parametrize(
    ("settled", "heard", "at"),
    [
        ("", "a b", 0),
        ("a b", "a b c", 2),
        ("A, b.", "a b c", 2),
        ("a b", "x a b c", 3),
        ("a b c", "a c d", 2),
        ("a b", "", 0),
        ("a b", "c d e", 2),
    ],
)
def test_where_a_recognition_goes_on(settled: str, heard: str, at: int) -> None:
    assert continue_from(settled.split(), heard.split()) == at


def test_words_keep_their_times_where_others_were_promised() -> None:
    segment = SegmentText()
    for _ in range(2):
        segment.interim(careful("can not"))
    words = (Word("cannot", 0.0, 1.0), Word("say", 1.0, 1.5))
    final = segment.final(Recognition("cannot say", "en", words=words))
    assert final.text == "can not"  # two words for two: nothing tells them apart
    final = segment.final(Recognition("can not say", "en", words=(Word("can", 0, 0.5), Word("not", 0.5, 1), words[1])))
    assert [word.text for word in final.words] == ["can", "not", "say"]


def test_a_transcript_says_in_bytes_what_will_not_change() -> None:
    utterance = Utterance(TranscriptionOptions(PCM16, RecognitionRequest("de"), "de"), onset=0)
    utterance.add(careful("Schöne Grüße.", "de"), 0, 0, 16_000)
    heard = utterance.interim(careful("Bis übermorgen"[:3], "de"), 16_000, 20_000)
    assert heard.text[: heard.stable_characters] == "Schöne Grüße."
    utterance.interim(careful("Bis übermorgen", "de"), 16_000, 30_000)
    heard = utterance.interim(careful("Bis übermorgen dann", "de"), 16_000, 40_000)
    assert heard.text[: heard.stable_characters] == "Schöne Grüße. Bis übermorgen"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["quick", "careful", "pause", "end"]),
        st.lists(st.sampled_from(["a", "b", "B,", "c", "ü.", "d"]), max_size=6),
        st.sampled_from(["en", "ja"]),
    ),
    max_size=20,
)


@given(STEPS)
def test_a_promised_beginning_is_never_taken_back(steps: list[tuple[str, list[str], str]]) -> None:
    utterance = Utterance(TranscriptionOptions(PCM16, RecognitionRequest(None)), onset=0)
    told: list[Transcript] = []
    for number, (kind, tokens, language) in enumerate(steps):
        end = (number + 1) * 16_000
        recognition = Recognition(unsplit(tokens, language), language, quick=kind == "quick")
        if kind == "pause":
            told.append(utterance.at_pause(recognition, 0, end))
        elif kind == "end":
            utterance.add(recognition, 0, 0, end)
        else:
            told.append(utterance.interim(recognition, 0, end))
    utterance.add(Recognition("", "en"), 0, 0, len(steps) * 16_000)
    told.append(utterance.final())
    for at, transcript in enumerate(told):
        promised = transcript.text[: transcript.stable_characters]
        assert len(promised) == transcript.stable_characters
        assert all(later.text.startswith(promised) for later in told[at:])


@given(
    st.lists(st.sampled_from(["a", "bb", "c."]), max_size=8), st.lists(st.sampled_from(["a", "bb", "c."]), max_size=8)
)
def test_words_that_follow_what_is_settled_are_a_part_of_what_was_heard(settled: list[str], heard: list[str]) -> None:
    at = continue_from(settled, heard)
    assert 0 <= at <= len(heard)
    assert split(unsplit(heard, "en"), "en") == heard
