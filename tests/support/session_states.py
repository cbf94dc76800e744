"""The state machine of a live session, brought into the states that tests begin in."""

from typing import Any

from orchestrator.commands import Command, StartResponse, TurnInput
from orchestrator.session import Session, State


def session(**changes: Any) -> Session:
    return Session("r", **changes)


def say(s: Session, text: str, utterance: str = "u", now: float = 0.0) -> list[Command]:
    """One utterance from its beginning to its final transcript; returns what the last one commands."""
    s.speech_started(utterance, now)
    s.speech_stopped(utterance)
    return s.transcript_completed(utterance, text, "en", now)


def speaking(**changes: Any) -> Session:
    """A session whose response `r_1` is being played."""
    s = session(**changes)
    say(s, "tell me")
    s.audio_started("r_1")
    assert s.state is State.SPEAKING
    return s


def speculating(**changes: Any) -> Session:
    """A session that speculates, as `r_1`, on "what time is it"."""
    s = session(**changes)
    s.speech_started("u", 0.0)
    s.speech_paused("u")
    started = s.pause_transcribed("u", "What time is it", "en", words=True)
    assert started == [StartResponse("r_1", TurnInput("What time is it", "en"), speculative=True)]
    assert s.state is State.USER_SPEAKING
    return s
