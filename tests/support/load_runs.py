"""A load run as its records, for tests of what is made of them."""

from cli.load.plan import LoadPlan
from cli.load.records import Punctuality, Record, Run, RunBegan, RunEnded, SessionBegan, SessionEnded, TurnEnded

PLAN = LoadPlan(3, turns=2, ramp_s=2.0, barge_in=0.5)
BEGAN = RunBegan("2026-11-27T10:00:00+00:00", "127.0.0.1:50050", "speech.wav", 3.0, PLAN, "Linux")
STEPS = {"endpointing": 0.3, "final_transcript": 0.4, "first_token": 0.1, "first_segment": 0.6, "first_audio": 0.7}
"""The first token came before the end of speech was decided: the answer was begun at a pause."""

ENDED = RunEnded(20, False, 2)


def turn(at_s: float, session: int, number: int, response_s: float | None, outcome: str = "completed") -> TurnEnded:
    """A turn whose synthesis took what the other stages had left."""
    steps = {} if response_s is None else {**STEPS, "first_audio": response_s - 0.01, "total": response_s + 2}
    return TurnEnded(at_s, session, number, outcome, response_s, steps=steps, response_id=f"r{session}{number}")


def make_run(*more: Record, lag_s: float = 0.002, late: int = 0, ended: RunEnded | None = ENDED) -> Run:
    """Two sessions with two turns each, and one that was refused; `more` records come before the end."""
    records: list[Record] = [
        BEGAN,
        SessionBegan(0.01, 0, 0.01),
        SessionBegan(1.01, 1, 0.02),
        SessionEnded(2.0, 2, "RESOURCE_EXHAUSTED", "too many <sessions>"),
        *(Punctuality(float(second), lag_s, 100, late) for second in range(1, 20)),
        turn(4.0, 0, 0, 0.8),
        turn(5.0, 1, 0, 1.0, "cancelled"),
        turn(9.0, 0, 1, 0.9),
        turn(10.0, 1, 1, 3.0),
        SessionEnded(15.0, 0, "OK"),
        SessionEnded(16.0, 1, "OK"),
        *more,
    ]
    return Run(BEGAN, (*records, ended) if ended is not None else tuple(records))
