"""The span of a turn, and those of its stages, made from `TurnTimings` when it has ended."""

from orchestrator.domain import ResponseStatus, TurnTimings
from services.common import tracing
from services.common.turn_stages import stage_seconds


def trace_turn(turn: tracing.Span, ended_at: float, status: ResponseStatus, timings: TurnTimings, error: str) -> None:
    """End a turn's span, with a span for each stage: those up to the first audio add up to the wait for it.

    Args:
        ended_at: when the user's speech ended.
        error: the reason of what failed, if anything did.
    """
    stages = {} if status is ResponseStatus.FAILED else stage_seconds(vars(timings))  # else it is an apology
    at = ended_at
    for stage, seconds in stages.items():
        tracing.begin(stage, parent=turn.context, at=at).end(at=(at := at + seconds))
    if stages and timings.total is not None:
        tracing.begin("speaking", parent=turn.context, at=at).end(at=ended_at + timings.total)
    turn.set({"parley.turn.outcome": status.value, "parley.turn.response_s": sum(stages.values()) if stages else None})
    turn.end(error)
