"""The state machine of a live session: what holds whatever the order of events."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.commands import (
    CancelResponse,
    Command,
    ConfirmResponse,
    DiscardResponse,
    FinishResponse,
    HoldResponse,
    ResumeResponse,
    StartResponse,
)
from orchestrator.session import MAX_QUEUED_TURNS, Session, State
from services.common.errors import InvalidArgumentError, OverloadedError, ToolOutputPendingError
from tests.support.session_states import session

EVENTS = (
    *("start", "pause", "pause text", "pause silence", "resume", "stop", "interim", "interim mm-hm"),
    *("final same", "final other", "final silence", "final mm-hm", "lost"),
    *("commit", "request", "cancel", "audio", "end", "time", "call", "output"),
)


class World:
    """Plays random events in any order, and checks each command against what is possible at that moment."""

    def __init__(self, machine: Session) -> None:
        self.s = machine
        self.now = 0.0
        self.utterance = 0
        self.calls = 0
        self.running: dict[str, str] = {}
        self.held: set[str] = set()
        self.started: list[str] = []

    def play(self, event: str) -> None:
        s, utterance = self.s, f"u{self.utterance}"
        self.now += 0.1
        if event == "start":
            self.utterance += 1
            self.obey(s.speech_started(f"u{self.utterance}", self.now))
        elif event == "pause":
            s.speech_paused(utterance)
        elif event.startswith("pause "):
            text = "words" if event == "pause text" else ""
            self.obey(s.pause_transcribed(utterance, text, "en", words=bool(text)))
        elif event == "resume":
            self.obey(s.speech_resumed(utterance, self.now))
        elif event == "stop":
            s.speech_stopped(utterance)
        elif event.startswith("interim"):
            self.obey(s.words_heard(utterance, "well", words=event == "interim"))
        elif event.startswith("final"):
            text = {"final same": "Words.", "final other": "other", "final mm-hm": "mm-hm"}.get(event, "")
            words = event in ("final same", "final other")
            self.obey(s.transcript_completed(utterance, text, "en", self.now, words=words))
        elif event == "lost":
            self.obey(s.speech_lost(self.now))
        elif event == "commit":
            s.turn_committed()
        elif event == "request":
            self.obey(s.response_requested(self.now))
        elif event == "cancel":
            self.obey(s.cancel_requested(""))
        elif event == "audio" and self.running:
            s.audio_started(next(iter(self.running)))
        elif event == "end" and self.running:
            self.end()
        elif event == "call" and self.running:
            self.calls += 1
            s.function_called(next(iter(self.running)), f"c{self.calls}")
        elif event == "output":
            self.obey(s.function_output(f"c{self.calls}", self.now)[1])
        elif event == "time" and s.wake_at is not None:
            self.now = s.wake_at
            self.obey(s.time_passed(self.now))

    def end(self) -> None:
        ended = next(iter(self.running))
        del self.running[ended]
        self.held.discard(ended)
        kept = frozenset({f"c{self.calls}"}) if self.calls % 2 else frozenset[str]()
        self.obey(self.s.response_ended(ended, self.now, kept))

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StartResponse(response_id, _, speculative):
                    assert not self.running, "one response at a time"
                    assert response_id not in self.started
                    self.started.append(response_id)
                    self.running[response_id] = "unknown" if speculative else "known"
                case ConfirmResponse(response_id):
                    assert self.running[response_id] == "unknown"
                    self.running[response_id] = "known"
                case DiscardResponse(response_id):
                    assert self.running[response_id] == "unknown", "what the client knows of is not discarded"
                    self.running[response_id] = "ending"
                case CancelResponse(response_id):
                    assert self.running[response_id] == "known", "it is cancelled once"
                    self.running[response_id] = "ending"
                case HoldResponse(response_id):
                    assert self.running[response_id] == "known"
                    assert response_id not in self.held
                    self.held.add(response_id)
                case FinishResponse(response_id):
                    assert self.running[response_id] == "known"
                case ResumeResponse(response_id):
                    assert self.running[response_id] == "known"
                    self.held.remove(response_id)
        self.check()

    def check(self) -> None:
        s = self.s
        assert s.current == next(iter(self.running), None)
        held = [name for name in self.held if self.running.get(name) == "known"]
        assert (s.state is State.HELD) is bool(held)
        assert (s.wake_at is not None) is bool(held), "what is held is woken"


@given(st.lists(st.sampled_from(EVENTS), max_size=80), st.booleans(), st.booleans())
def test_whatever_the_order_of_events_no_response_is_lost_doubled_or_left_held(
    events: list[str], interrupt: bool, speculation: bool
) -> None:
    world = World(session(interrupt_response=interrupt, speculation=speculation))
    for event in events:
        try:
            world.play(event)
        except (InvalidArgumentError, OverloadedError, ToolOutputPendingError):
            continue
    # The user falls silent: everything ends, and the machine is back where it began.
    world.play("final silence")
    world.play("time")
    for _ in range(MAX_QUEUED_TURNS + 2):
        world.play("end")
    assert not world.running
    assert world.s.state is State.LISTENING


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_after_any_history_the_next_words_are_answered_or_refused(events: list[str]) -> None:
    world = World(session())
    for event in events:
        try:
            world.play(event)
        except (InvalidArgumentError, OverloadedError, ToolOutputPendingError):
            continue
    before = len(world.started)
    world.play("start")
    world.play("stop")
    try:
        world.play("final other")
    except OverloadedError:
        return  # the client is told
    for _ in range(MAX_QUEUED_TURNS + 2):
        if len(world.started) > before:
            break
        world.play("end")
    assert len(world.started) > before
