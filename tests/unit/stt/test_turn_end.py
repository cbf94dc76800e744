"""Whether a text sounds finished."""

import pytest

from services.stt.endpointing import EndpointingConfig
from services.stt.turn_end import Ending, end_silence_s, ending, with_sound

FINISHED = [
    ("What is the time?", "en"),
    ("Tell me a story.", "en"),
    ("What are you looking for?", "en"),
    ("Yes, I am.", "en"),
    ("It was in May 1990.", "en"),
    ("It costs 1,500.", "en"),
    ("The answer is 42.", "en"),
    ('He said "hello."', "en"),
    ("Wie spät ist es?", "de"),
    ("今何時ですか？", "ja"),
    ("现在几点了？", "zh"),
    ("अभी क्या समय हुआ है।", "hi"),
    ("كم الساعة؟", "ar"),
    ("Kolik je hodin?", "cs"),
]
UNFINISHED = [
    ("I want to go to Paris and", "en"),
    ("I want to go to the.", "en"),
    ("Because", "en"),
    ("Well, um...", "en"),
    ("First of all,", "en"),
    ("I think...", "en"),
    ("My number is 555", "en"),
    ("It is 555 12 34.", "en"),
    ("It is five five", "en"),
    ("Ich möchte nach Berlin und", "de"),
    ("Je voudrais aller à.", "fr"),
    ("Quiero ir a Madrid y", "es"),
    ("Vorrei andare a Roma e", "it"),
    ("Quero ir para", "pt"),
    ("Ik wil naar Amsterdam en", "nl"),
    ("我想去北京，因为", "zh"),
    ("東京に行きたいけど", "ja"),
    ("서울에 가고 싶은데", "ko"),
]
OPEN = [("what is the time", "en"), ("Tell me a story", "en"), ("", "en"), ("...", "en"), ("co je to a", "cs")]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [(*case, Ending.FINISHED) for case in FINISHED]
    + [(*case, Ending.UNFINISHED) for case in UNFINISHED]
    + [(*case, Ending.OPEN) for case in OPEN],
)
def test_how_a_text_ends(text: str, language: str, expected: Ending) -> None:
    assert ending(text, language) is expected


def test_the_wait_follows_the_ending_within_what_is_configured() -> None:
    config = EndpointingConfig(end_silence_s=0.5, min_end_silence_s=0.3, max_end_silence_s=1.2)
    assert end_silence_s(config, "What is the time?", "en") == 0.3
    assert end_silence_s(config, "what is the time", "en") == 0.5
    assert end_silence_s(config, "what is the", "en") == 1.2


def test_one_wait_for_all_where_the_others_are_not_configured() -> None:
    config = EndpointingConfig(end_silence_s=0.7)
    assert {end_silence_s(config, text, "en") for text in ("Yes.", "yes", "yes and")} == {0.7}


@pytest.mark.parametrize(
    ("read", "complete", "incomplete"),
    [
        (Ending.FINISHED, Ending.FINISHED, Ending.OPEN),
        (Ending.OPEN, Ending.FINISHED, Ending.UNFINISHED),
        (Ending.UNFINISHED, Ending.UNFINISHED, Ending.UNFINISHED),
    ],
)
def test_what_was_heard_moves_what_was_read_by_one_step(read: Ending, complete: Ending, incomplete: Ending) -> None:
    assert [with_sound(read, probability) for probability in (1.0, 0.5, 0.49, 0.0)] == [
        *(complete, complete),
        *(incomplete, incomplete),
    ]


@pytest.mark.parametrize(
    ("text", "probability", "wait_s"),
    [("What is the time?", 0.1, 0.5), ("what is the time", 0.9, 0.3), ("what is the time", 0.1, 1.2)],
)
def test_the_wait_follows_what_was_heard_within_the_same_limits(text: str, probability: float, wait_s: float) -> None:
    config = EndpointingConfig(end_silence_s=0.5, min_end_silence_s=0.3, max_end_silence_s=1.2)
    assert end_silence_s(config, text, "en", probability) == wait_s
    assert end_silence_s(EndpointingConfig(end_silence_s=0.7), text, "en", probability) == 0.7
