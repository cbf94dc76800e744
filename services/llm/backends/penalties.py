"""Frequency and presence penalties, which transformers has none of. Needs torch."""

import torch
from transformers import LogitsProcessor


class RepetitionPenalties(LogitsProcessor):
    """Lowers the logits of tokens that the answer has already: `count * frequency + (count > 0) * presence`.

    The formula is that of the OpenAI API reference ("Frequency and presence penalties"); the prompt does not count.

    Args:
        prompt_length: tokens of the prompt.
    """

    def __init__(self, prompt_length: int, frequency: float, presence: float) -> None:
        self._prompt_length = prompt_length
        self._frequency = frequency
        self._presence = presence

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens, counts = input_ids[0, self._prompt_length :].unique(return_counts=True)  # type: ignore[no-untyped-call]
        scores = scores.clone()
        scores[0, tokens] -= counts * self._frequency + self._presence
        return scores
