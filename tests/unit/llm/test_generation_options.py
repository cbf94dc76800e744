"""Which generation parameters a local model's answer gets."""

from typing import Any

import pytest

from services.common.errors import InvalidArgumentError, StartupError
from services.llm.backends.generation_options import PARAMETERS, GenerationPlan, check_flags, plan
from services.llm.domain import Sampling

DEFAULTS: dict[str, Any] = {"max_new_tokens": 100, "min_new_tokens": 0, "temperature": 0.0, "do_sample": False}


def made(sampling: Sampling = Sampling(), **options: Any) -> GenerationPlan:  # noqa: B008  frozen
    return plan(DEFAULTS, options, sampling)


def refused(sampling: Sampling = Sampling(), **options: Any) -> str:  # noqa: B008  frozen
    with pytest.raises(InvalidArgumentError) as caught:
        made(sampling, **options)
    return caught.value.field


def test_without_a_word_the_flags_hold() -> None:
    assert made() == GenerationPlan(100, 0, None, 0.0, 0.0, None, (), {})
    sampled = plan({**DEFAULTS, "temperature": 0.7, "do_sample": True, "top_p": 0.9}, {}, Sampling())
    assert (sampled.temperature, sampled.parameters) == (0.7, {"top_p": 0.9})


def test_a_request_wins_over_its_options_and_these_over_the_flags() -> None:
    planned = made(
        Sampling(max_output_tokens=5, top_k=3, temperature=0.5), top_k=9, max_new_tokens=50, min_new_tokens=2
    )
    assert (planned.max_new_tokens, planned.min_new_tokens, planned.temperature) == (5, 2, 0.5)
    assert planned.parameters == {"top_k": 3}


def test_a_temperature_samples_and_none_is_greedy() -> None:
    assert made(Sampling(temperature=0.5)).temperature == 0.5
    assert made(Sampling(temperature=0.0)).temperature is None
    sampling = {**DEFAULTS, "temperature": 0.7, "do_sample": True, "top_p": 0.9}
    greedy = plan(sampling, {}, Sampling(temperature=0.0))
    assert (greedy.temperature, greedy.parameters) == (None, {})


def test_seed_stops_and_penalties_go_along() -> None:
    planned = made(Sampling(seed=7, stop=("x",), frequency_penalty=0.5, presence_penalty=0.25), repetition_penalty=1.5)
    assert (planned.seed, planned.stop) == (7, ("x",))
    assert (planned.frequency_penalty, planned.presence_penalty) == (0.5, 0.25)
    assert planned.parameters == {"repetition_penalty": 1.5}


@pytest.mark.parametrize(
    ("sampling", "options", "field"),
    [
        (Sampling(), {"num_beams": 2}, "backend_options.num_beams"),
        (Sampling(), {"top_k": "many"}, "backend_options.top_k"),
        (Sampling(), {"repetition_penalty": 0}, "backend_options.repetition_penalty"),
        (Sampling(), {"do_sample": True}, "backend_options.do_sample"),
        (Sampling(temperature=0.5), {"do_sample": False}, "sampling.temperature"),
        (Sampling(top_p=0.5), {}, "sampling.top_p"),
        (Sampling(), {"min_p": 0.5}, "backend_options.min_p"),
        (Sampling(min_output_tokens=200), {}, "sampling.min_output_tokens"),
        (Sampling(max_output_tokens=5), {"min_new_tokens": 9}, "backend_options.min_new_tokens"),
    ],
)
def test_edge_23_what_is_unknown_wrong_or_contradicts_itself_is_refused(
    sampling: Sampling, options: dict[str, Any], field: str
) -> None:
    assert refused(sampling, **options) == field


def test_values_that_change_nothing_are_no_contradiction() -> None:
    assert made(Sampling(top_p=1.0, top_k=0)).temperature is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("topk", 3, "did you mean top_k"),
        ("top_p", 3, "above 0 to 1"),
        ("num_beams", 2, "no parameter"),
        ("top_k", True, "whole number"),
    ],
)
def test_a_wrong_flag_is_refused_by_name_at_the_start(name: str, value: object, words: str) -> None:
    with pytest.raises(StartupError, match=f"--llm_gen_{name}: .*{words}"):
        check_flags({name: value})


def test_good_flags_pass() -> None:
    check_flags(
        {"top_p": 0.9, "top_k": 5, "bad_words_ids": [[1, 2]], "suppress_tokens": [3], "renormalize_logits": True}
    )


def test_every_parameter_is_one_of_the_library() -> None:
    from transformers import GenerationConfig

    known = set(vars(GenerationConfig()))
    assert set(PARAMETERS) - known == {"frequency_penalty", "presence_penalty"}
