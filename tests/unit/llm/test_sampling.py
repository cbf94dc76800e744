"""Tokens are drawn as `generate` draws them, from as few as can be."""

from typing import Any

import pytest
import torch
from transformers import (
    EpsilonLogitsWarper,
    LogitsProcessorList,
    MinPLogitsWarper,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
from transformers.generation.logits_process import TopHLogitsWarper

from services.llm.backends.batching.sampling import Sampler, choose
from services.llm.backends.generation_options import plan
from services.llm.domain import Sampling

VOCABULARY = 200
DRAWS = 20_000


def sampler(temperature: float, **options: Any) -> Sampler:
    """Of a request with such options."""
    flags = {"max_new_tokens": 8, "min_new_tokens": 0, "temperature": temperature, "do_sample": True}
    return Sampler(plan(flags, options, Sampling()), {}, 0, frozenset({0}), "cpu")


@pytest.mark.parametrize(
    ("temperature", "options", "reference"),
    [
        (1.0, {}, [TopKLogitsWarper(50)]),
        (0.7, {}, [TemperatureLogitsWarper(0.7), TopKLogitsWarper(50)]),
        (1.5, {"top_k": 5}, [TemperatureLogitsWarper(1.5), TopKLogitsWarper(5)]),
        (1.5, {"top_k": 0}, [TemperatureLogitsWarper(1.5)]),
        (1.0, {"top_k": 1000}, []),
        (1.0, {"top_k": 20, "top_p": 0.6}, [TopKLogitsWarper(20), TopPLogitsWarper(0.6)]),
        (1.0, {"top_k": 0, "min_p": 0.2}, [MinPLogitsWarper(0.2)]),
        (1.0, {"top_h": 0.4}, [TopHLogitsWarper(0.4), TopKLogitsWarper(50)]),
        (1.0, {"typical_p": 0.5, "top_k": 30}, [TopKLogitsWarper(30), TypicalLogitsWarper(0.5)]),
        (1.0, {"epsilon_cutoff": 0.02, "top_k": 40}, [TopKLogitsWarper(40), EpsilonLogitsWarper(0.02)]),
        (
            1.0,
            {"suppress_tokens": [1, 2, 3], "top_k": 4},
            [SuppressTokensLogitsProcessor([1, 2, 3]), TopKLogitsWarper(4)],
        ),
    ],
)
def test_tokens_come_as_often_as_from_all_scores(
    temperature: float, options: dict[str, Any], reference: list[Any]
) -> None:
    torch.manual_seed(3)
    logits = torch.randn(1, VOCABULARY) * 2
    expected = torch.softmax(LogitsProcessorList(reference)(torch.zeros(1, 1, dtype=torch.int64), logits), -1)[0]
    drawn = sampler(temperature, **options).draw(logits.repeat(DRAWS, 1))
    found = torch.bincount(drawn, minlength=VOCABULARY) / DRAWS
    assert not found[expected == 0].any(), "what is cut off is never drawn"
    # Five standard deviations of a share of so many draws.
    assert ((found - expected).abs() <= 5 * (expected * (1 - expected) / DRAWS).sqrt() + 1e-9).all()


def test_those_who_want_the_same_draw_together_and_one_bad_row_harms_nobody() -> None:
    logits = torch.full((3, VOCABULARY), -10.0)
    logits[0, 7] = logits[2, 9] = 30.0
    logits[1] = torch.nan
    samplers = [sampler(0.7), sampler(0.7), sampler(0.7)]
    assert len({one.key for one in samplers}) == 1
    first, second, third = choose(logits, samplers, [[1, 2]] * 3)
    assert (first, third) == (7, 9)
    assert isinstance(second, Exception)
    assert sampler(0.7, top_k=3).key != samplers[0].key
