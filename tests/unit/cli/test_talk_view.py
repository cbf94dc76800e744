"""What the user sees of a conversation."""

import io

from parley_client import events
from rich.console import Console

from cli.dialogue import Dialogue
from cli.render import printable
from cli.talk_view import TalkView

TIMINGS = events.Timings(0.6, 0.8, 0.9, 1.0, 1.05, 2.4)
TURN = (
    events.SpeechStarted("u1", 0.3),
    events.InterimTranscript("u1", "What"),
    events.InterimTranscript("u1", "What is"),
    events.SpeechStopped("u1", 1.5),
    events.FinalTranscript("u1", "What is [bold]it?", "en"),
    events.ResponseStarted("r1"),
    events.TextDelta("r1", "It is "),
    events.TextDelta("r1", "tea. [/x] \x1b[31m"),
    events.AudioDelta("r1", b"\0\0"),
    events.ResponseEnded("r1", events.Outcome.COMPLETED, "It is tea.", TIMINGS),
)


def shown(*happened: events.Event, terminal: bool = False, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    dialogue = Dialogue()
    with TalkView(console, quiet=quiet) as view:
        for event in happened:
            dialogue.feed(event, 2.6)
            view.show(event, dialogue)
    return out.getvalue()


def test_transcript_and_answer_are_lines_of_their_own_and_no_markup() -> None:
    lines = shown(*TURN).splitlines()
    assert lines[0] == "You:     What is [bold]it?"
    assert lines[1].startswith("Parley:  It is tea. [/x]")
    assert "\x1b" not in lines[1]


def test_the_breakdown_has_every_step_and_our_own_measurement() -> None:
    text = shown(*TURN)
    for step, at, took in [
        ("end of speech decided", "600 ms", "600 ms"),
        ("final transcript", "800 ms", "200 ms"),
        ("first token of the answer", "900 ms", "100 ms"),
        ("first segment to speak", "1,000 ms", "100 ms"),
        ("first audio", "1,050 ms", "50 ms"),
        ("answer complete", "2,400 ms", "1,350 ms"),
        ("first audio, as measured here", "1,100 ms", ""),
    ]:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{step}  ")]
        assert line.split("  ", 1)[0].strip() == step or line.strip().startswith(step)
        assert at in line
        assert took in line


def test_steps_that_did_not_happen_are_left_out() -> None:
    ended = events.ResponseEnded("r1", events.Outcome.COMPLETED, "", events.Timings(first_token_s=0.9))
    text = shown(*TURN[:6], ended)
    assert "first token" in text
    assert "end of speech decided" not in text


def test_interim_transcripts_are_shown_on_a_terminal_alone() -> None:
    assert "What is\n" not in shown(*TURN[:3])
    assert "What is" in shown(*TURN[:3], terminal=True)


def test_an_interrupted_answer_says_so() -> None:
    cancelled = events.ResponseEnded("r1", events.Outcome.CANCELLED, "It", None)
    assert "It is  (cancelled)" in shown(*TURN[:7], cancelled)


def test_a_failed_turn_is_shown_on_a_line_of_its_own() -> None:
    text = shown(*TURN[:7], events.TurnFailed("the language model service is not reachable"))
    assert text.splitlines()[-1] == "the language model service is not reachable"


def test_quiet_prints_nothing() -> None:
    assert shown(*TURN, quiet=True) == ""


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\x07\tc\nहिन्दी") == "a[2Jb\tc\nहिन्दी"
