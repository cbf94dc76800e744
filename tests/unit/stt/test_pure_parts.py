"""Windows, guards, languages, utterances, word timings, the buffer: small pure things."""

import numpy as np
import pytest

from services.common.audio_format import AudioFormat, Encoding
from services.stt import languages
from services.stt.audio_buffer import AudioBuffer, DcBlocker
from services.stt.domain import Recognition, RecognitionRequest, TranscriptionOptions, Word
from services.stt.engines.word_timing import words_of
from services.stt.guards import Decoding, Verdict, judge
from services.stt.timebase import FRAME_SAMPLES, SAMPLE_RATE_HZ
from services.stt.utterance import Utterance
from services.stt.windows import Span, pack

SECOND = SAMPLE_RATE_HZ
OPTIONS = TranscriptionOptions(AudioFormat(Encoding.PCM_S16LE, 16_000), RecognitionRequest("en"), "en-GB")


def span(start_s: float, end_s: float) -> Span:
    start, end = round(start_s * SECOND), round(end_s * SECOND)
    return Span(start, start, end, end)


def test_spans_are_packed_while_they_fit_into_a_window() -> None:
    assert pack([span(0, 10), span(11, 20), span(21, 29.5), span(30, 35)]) == [span(0, 29.5), span(30, 35)]


def test_a_long_silence_parts_windows() -> None:
    assert pack([span(0, 5), span(9, 12)]) == [span(0, 5), span(9, 12)]


def test_a_packed_window_has_the_onset_of_its_first_and_the_end_of_its_last_span() -> None:
    packed = pack([Span(0, 100, 900, 1000), Span(2000, 2100, 2900, 3000)])
    assert packed == [Span(0, 100, 2900, 3000)]


def test_no_speech_packs_into_no_window() -> None:
    assert pack([]) == []


@pytest.mark.parametrize(
    ("text", "log_probability", "no_speech", "verdict"),
    [
        ("Hello there.", -0.2, 0.1, Verdict.ACCEPT),
        ("Hello there.", -0.2, 0.95, Verdict.ACCEPT),  # sure of the words
        ("Hello there.", -1.5, 0.1, Verdict.ACCEPT),  # unsure of them, but someone speaks
        ("Thank you.", -1.5, 0.7, Verdict.DROP),
        ("", -0.1, 0.0, Verdict.DROP),
        ("...", -0.1, 0.0, Verdict.DROP),
        (" . . . . . . . .", -0.2, 0.9, Verdict.DROP),
        ("はい。", -0.2, 0.0, Verdict.ACCEPT),
        ("and so on " * 30, -0.2, 0.0, Verdict.RETRY),
    ],
)
def test_invented_text_is_dropped_and_repetition_retried(
    text: str, log_probability: float, no_speech: float, verdict: Verdict
) -> None:
    assert judge(Decoding(text, log_probability, no_speech)) is verdict


@pytest.mark.parametrize(("log_probability", "verdict"), [(-0.2, Verdict.ACCEPT), (-1.2, Verdict.DROP)])
def test_a_retry_that_still_repeats_is_believed_only_where_the_model_is_sure(
    log_probability: float, verdict: Verdict
) -> None:
    assert judge(Decoding("no, " * 60, log_probability, 0.0), is_retry=True) is verdict


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("en-GB", "en"),
        ("EN_us", "en"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        ("fil", "tl"),
        ("xx", None),
        ("", None),
    ],
)
def test_language_tags_find_the_models_codes(tag: str, code: str | None) -> None:
    assert languages.match(tag, ("en", "no", "jw", "tl")) == code


def test_a_models_code_becomes_a_tag_and_texts_join_as_the_script_wants() -> None:
    assert languages.tag_of("jw") == "jv"
    assert languages.join(["one", "", "two"], "en") == "one two"
    assert languages.join(["一", "二"], "zh") == "一二"


def test_an_utterance_places_words_in_the_stream_and_within_its_speech() -> None:
    utterance = Utterance(OPTIONS, onset=2 * SECOND)
    words = (Word("two", 0.0, 0.5), Word("words", 0.5, 9.0))
    utterance.speech_end = 4 * SECOND
    utterance.add(Recognition("two words", "en", 0.8, words), round(1.7 * SECOND), 2 * SECOND, 4 * SECOND)
    transcript = utterance.final()
    assert [(word.start_s, word.end_s) for word in transcript.words] == [
        (2.0, pytest.approx(2.2)),
        (pytest.approx(2.2), 4.0),
    ]
    assert (transcript.text, transcript.language_tag, transcript.confidence) == ("two words", "en-GB", 0.8)


def test_an_utterance_of_several_segments_is_as_sure_as_its_least_sure_one() -> None:
    utterance = Utterance(OPTIONS, onset=0)
    for text, confidence in (("one", 0.9), ("", None), ("two", 0.5)):
        utterance.add(Recognition(text, "en", confidence), 0, 0, SECOND)
    assert (utterance.final().text, utterance.final().confidence) == ("one two", 0.5)


def test_an_interim_transcript_follows_the_segments_that_have_ended() -> None:
    utterance = Utterance(OPTIONS, onset=0)
    utterance.add(Recognition("one", "en"), 0, 0, SECOND)
    interim = utterance.interim(Recognition("two", "en", words=(Word("two", 0, 1),)), 2 * SECOND, 3 * SECOND)
    assert (interim.text, interim.is_final, interim.end_s, interim.words) == (
        "one two",
        False,
        3.0,
        (Word("two", 2, 3),),
    )


def piece(word: str, start: float, end: float, probability: float = 0.9) -> dict[str, object]:
    return {"word": word, "start": start, "end": end, "probability": probability}


def test_pieces_of_a_hyphenated_word_are_one_word() -> None:
    words = words_of([piece(" an", 0, 1), piece(" ill", 1, 2, 0.7), piece("-disposed", 2, 3), piece("", 3, 3)], "en")
    assert words == (Word("an", 0, 1, 0.9), Word("ill-disposed", 1, 3, 0.7))


def test_a_language_without_spaces_keeps_its_pieces() -> None:
    assert [word.text for word in words_of([piece("你", 0, 1), piece("好", 1, 2)], "zh")] == ["你", "好"]


def test_the_buffer_is_addressed_by_position_and_forgets() -> None:
    buffer = AudioBuffer()
    for at in range(0, 100, 10):
        buffer.append(np.arange(at, at + 10, dtype=np.float32))
    buffer.forget(35)
    assert len(buffer) == 70
    assert buffer.slice(35, 40).tolist() == [35, 36, 37, 38, 39]
    assert buffer.slice(0, 32).tolist() == [30, 31]
    assert buffer.slice(95, 200).tolist() == [95, 96, 97, 98, 99]
    buffer.forget(1000)
    assert len(buffer) == 0
    assert buffer.end == 100
    assert buffer.slice(0, 100).tolist() == []


def test_edge_29_a_constant_offset_is_removed_and_the_signal_stays() -> None:
    time = np.arange(SECOND * 2) / SECOND
    tone = (0.2 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    frames = (tone + np.float32(0.5))[: 60 * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    blocked = DcBlocker()(frames).ravel()
    assert abs(float(blocked.mean())) < 0.01
    assert float(blocked.std()) == pytest.approx(float(tone.std()), rel=0.02)


def test_the_removal_does_not_depend_on_the_chunking() -> None:
    frames = np.random.default_rng(0).normal(0.3, 0.1, (40, FRAME_SAMPLES)).astype(np.float32)
    whole, pieces = DcBlocker(), DcBlocker()
    together = whole(frames)
    apart = np.concatenate([pieces(frames[:1]), pieces(frames[1:1]), pieces(frames[1:7]), pieces(frames[7:])])
    assert np.allclose(together, apart, atol=1e-6)
