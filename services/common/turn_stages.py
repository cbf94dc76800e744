"""The stages of a turn, from the end of the user's speech to the first audio of the answer. Pure."""

from collections.abc import Mapping

STAGES = {
    "endpointing": "endpointing",
    "transcription": "final_transcript",
    "language_model": "first_token",
    "segmentation": "first_segment",
    "synthesis": "first_audio",
}
"""The stages in their order, each with the step of the contract's `TurnTimings` that ends it."""
ENDINGS = {
    "endpointing": "the decision that the user's speech has ended",
    "transcription": "the final transcript",
    "language_model": "the first token",
    "segmentation": "the first text to speak",
    "synthesis": "the first audio, as the client takes it",
}
"""That step in words."""


def stage_seconds(steps: Mapping[str, float | None]) -> dict[str, float]:
    """What each stage added to the wait for the first audio, in seconds; they add up to it. Empty without audio.

    Stages overlap where an answer is begun at a pause: a stage counts for what it lasted longer than those before it. A
    step that was not taken (a transcript, where text was sent) is left out.

    Args:
        steps: of `TurnTimings`, in seconds from the end of the user's speech.
    """
    first_audio = steps.get("first_audio")
    if first_audio is None:
        return {}
    end, reached, spent = max(0.0, first_audio), 0.0, {}
    for stage, step in STAGES.items():
        at = steps.get(step)
        if at is not None:
            at = min(max(reached, at), end)
            spent[stage] = at - reached
            reached = at
    return spent
