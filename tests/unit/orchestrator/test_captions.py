"""Text in step with audio."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.captions import Captions
from orchestrator.playback import Playback
from services.common.audio_format import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.PCM_S16LE, 8000)


def test_words_are_shown_as_they_are_said() -> None:
    captions = Captions()
    captions.write("One two three. Four.")
    assert captions.say(0, "One two three.", 3) == "One"
    assert captions.say(0, "One two three.", 3) == ""
    assert captions.say(0, "One two three.", 14) == " two three."
    assert captions.say(1, "Four.", 5) == " Four."
    assert captions.rest() == ""


def test_markup_goes_along_with_the_words_before_it() -> None:
    captions = Captions()
    captions.write("**One** [two](https://example.com/two) `three`")
    assert captions.say(0, "One two three", 3) == "**One"
    assert captions.say(0, "One two three", 7) == "** [two"
    assert captions.say(0, "One two three", 13).endswith("three")
    assert captions.rest() == "`"


def test_what_was_shown_is_not_shown_again_when_its_audio_is_sent_again() -> None:
    captions = Captions()
    captions.write("One two. Three.")
    captions.say(1, "Three.", 6)
    assert captions.say(0, "One two.", 8) == ""


@given(st.lists(st.text("ab *_", min_size=1, max_size=12), max_size=5), st.lists(st.integers(0, 12), max_size=20))
def test_nothing_is_lost_or_doubled(segments: list[str], steps: list[int]) -> None:
    captions = Captions()
    captions.write(" ".join(segments))
    shown = ""
    for number, segment in enumerate(segments):
        said = segment.replace("*", "").replace("_", "")
        for step in steps:
            shown += captions.say(number, said, min(step, len(said)))
    assert shown + captions.rest() == " ".join(segments)


def received(text: str, seconds: float, *, whole: bool = True) -> Playback:
    playback = Playback(FORMAT)
    playback.begin_segment(text)
    playback.receive(bytes(round(seconds * 8000) * 2))
    if whole:
        playback.end_segment()
    return playback


@pytest.mark.parametrize(("until_s", "said"), [(0.1, "One"), (0.6, "One two"), (1.2, "One two three"), (2.0, None)])
def test_without_timings_words_take_time_by_their_length(until_s: float, said: str | None) -> None:
    text = "One two three four."
    segment, whole, characters = received(text, 2.0).being_said(until_s)
    assert (segment, whole) == (0, text)
    assert whole[:characters] == (said or text)


def test_with_timings_words_are_said_when_the_engine_says() -> None:
    playback = received("a bb a", 3.0, whole=False)
    for word, start_s in (("a", 0.0), ("bb", 1.0), ("a", 2.5)):
        playback.time_word(word, start_s, start_s + 0.4)
    playback.end_segment()
    assert [playback.being_said(at)[2] for at in (0.5, 1.2, 2.4, 2.6)] == [1, 4, 4, 6]
    assert [playback.heard(at) for at in (0.3, 0.5, 1.3, 1.5, 2.8, 3.0)] == ["", "a", "a", "a bb", "a bb", "a bb a"]
