"""Which audio of a session goes up at once."""

from typing import Any

import pytest
from parley_client import FinalTranscript, Outcome, ResponseEnded, ResponseStarted, SpeechStarted
from parley_client.gathering import Gathering

BYTES_PER_SECOND = 32_000
FRAME = bytes(640)
HELLO = FinalTranscript("u1", "hello", "en")
ENDED = ResponseEnded("r1", Outcome.COMPLETED, "hi", None)


def frames_in_each_message(gathering: Gathering, frames: int = 20) -> list[int]:
    return [len(gathering.take()) // len(FRAME) for _ in range(frames) if gathering.add(FRAME, BYTES_PER_SECOND)]


def test_a_fifth_of_a_second_goes_at_a_time_while_nobody_speaks() -> None:
    assert frames_in_each_message(Gathering()) == [10, 10]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([SpeechStarted("u1", 0.0)], id="the user speaks"),
        pytest.param([SpeechStarted("u1", 0.0), SpeechStarted("u2", 2.0), HELLO], id="and speaks again"),
        pytest.param([SpeechStarted("u1", 0.0), HELLO, ResponseStarted("r1")], id="the assistant speaks"),
        pytest.param([ResponseStarted("r1"), SpeechStarted("u1", 0.0), ENDED], id="the user interrupts"),
        pytest.param([ResponseStarted("r1"), ResponseStarted("r2"), ENDED], id="another answer"),
    ],
)
def test_each_frame_goes_at_once_while_somebody_speaks(events: list[Any]) -> None:
    gathering = Gathering()
    for event in events:
        gathering.see(event)
    assert frames_in_each_message(gathering, 3) == [1, 1, 1]


def test_what_waits_goes_with_the_first_frame_after_the_beginning_of_speech() -> None:
    gathering = Gathering()
    assert frames_in_each_message(gathering, 2) == []
    gathering.see(SpeechStarted("u1", 0.0))
    assert frames_in_each_message(gathering, 2) == [3, 1]


def test_after_the_answer_audio_waits_again() -> None:
    gathering = Gathering()
    for event in (SpeechStarted("u1", 0.0), HELLO, ResponseStarted("r1"), ENDED):
        gathering.see(event)
    assert frames_in_each_message(gathering) == [10, 10]
