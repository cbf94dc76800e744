"""Generation parameters of local models: what there is, what values they take, which of them a request gets. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from services.common.errors import InvalidArgumentError, StartupError
from services.common.settings import nearest
from services.llm.domain import Sampling

GREEDY_BELOW = 0.01
"""Temperatures below this take the likeliest token: dividing by them leaves nothing else, or overflows."""
_NEEDS_SAMPLING = frozenset(
    {"top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "xtc_probability"}
)


def _number(low: float, high: float, *, above: bool = False) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if good and (low < value if above else low <= value) and value <= high:
            return ""
        return f"must be a number {'above' if above else 'from'} {low:g}" + (f" to {high:g}" if high < math.inf else "")

    return check


def _integer(low: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= low
        return "" if good else f"must be a whole number from {low}"

    return check


def _boolean(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _tokens(value: Any) -> str:
    good = isinstance(value, list) and value and all(isinstance(item, int) and item >= 0 for item in value)
    return "" if good else "must be a list of token ids"


def _phrases(value: Any) -> str:
    good = isinstance(value, list) and value and not any(_tokens(item) for item in value)
    return "" if good else "must be a list of lists of token ids"


PARAMETERS: Mapping[str, Callable[[Any], str]] = {
    "max_new_tokens": _integer(1),
    "min_new_tokens": _integer(0),
    "do_sample": _boolean,
    "temperature": _number(0, math.inf),
    "top_p": _number(0, 1, above=True),
    "top_k": _integer(0),
    "min_p": _number(0, 1),
    "top_h": _number(0, 1, above=True),
    "typical_p": _number(0, 1, above=True),
    "epsilon_cutoff": _number(0, 1),
    "eta_cutoff": _number(0, 1),
    "repetition_penalty": _number(0, math.inf, above=True),
    "no_repeat_ngram_size": _integer(0),
    "bad_words_ids": _phrases,
    "suppress_tokens": _tokens,
    "begin_suppress_tokens": _tokens,
    "renormalize_logits": _boolean,
    "remove_invalid_values": _boolean,
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
}
"""Names and checks, which return what is wrong with a value. They are those of transformers' GenerationConfig, and two
penalties of OpenAI's. GenerationConfig's others are refused by name: they are for beams, which cannot be streamed, for
assistant models, or are Parley's own to set."""
_SHARED_WITH_MLX = (
    *("max_new_tokens", "min_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p"),
    *("repetition_penalty", "suppress_tokens", "frequency_penalty", "presence_penalty"),
)
MLX_PARAMETERS: Mapping[str, Callable[[Any], str]] = {
    **{name: PARAMETERS[name] for name in _SHARED_WITH_MLX},
    "xtc_probability": _number(0, 1),
    "xtc_threshold": _number(0, 0.5),
}
"""Those that mlx-lm's samplers and logits processors can do, by the same names, and two of its own."""
_OURS = frozenset(
    {"max_new_tokens", "min_new_tokens", "do_sample", "temperature", "frequency_penalty", "presence_penalty"}
)
_SAMPLING_NAMES = {"max_output_tokens": "max_new_tokens", "min_output_tokens": "min_new_tokens"}


@dataclass(frozen=True)
class GenerationPlan:
    """How one answer is generated; `temperature` is None for the likeliest token each time.

    `parameters` are those that the model library takes by their names.
    """

    max_new_tokens: int
    min_new_tokens: int
    temperature: float | None
    frequency_penalty: float
    presence_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    parameters: Mapping[str, Any]


def check_flags(options: Mapping[str, Any], known: Mapping[str, Callable[[Any], str]] = PARAMETERS) -> None:
    """Check the `--llm_gen_<parameter>` flags against the parameters that a backend knows.

    Raises:
        StartupError: naming the flag that is unknown, with the nearest known one, or has a wrong value.
    """
    for name, value in options.items():
        problem = _problem(name, value, known)
        if problem:
            raise StartupError(f"--llm_gen_{name}: {problem}")


def plan(
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    sampling: Sampling,
    known: Mapping[str, Callable[[Any], str]] = PARAMETERS,
) -> GenerationPlan:
    """What a request gets: its sampling options over its backend options over the server's flags.

    Raises:
        InvalidArgumentError: naming the field that is unknown, wrong, or contradicts another.
    """
    for name, value in options.items():
        problem = _problem(name, value, known)
        if problem:
            raise InvalidArgumentError(problem, field=f"backend_options.{name}")
    asked = {
        _SAMPLING_NAMES.get(field.name, field.name): getattr(sampling, field.name)
        for field in fields(sampling)
        if field.name not in ("seed", "stop") and getattr(sampling, field.name) is not None
    }
    values = {**defaults, **options, **asked}
    temperature = _temperature(values, {**options, **asked}, set(asked))
    if values["min_new_tokens"] > values["max_new_tokens"]:
        field = _field("min_new_tokens" if {"min_new_tokens"} & {*options, *asked} else "max_new_tokens", set(asked))
        raise InvalidArgumentError("the least number of tokens is more than the most", field=field)
    kept = {
        name: value
        for name, value in values.items()
        if name not in _OURS and (temperature is not None or name not in _NEEDS_SAMPLING)
    }
    return GenerationPlan(
        values["max_new_tokens"],
        values["min_new_tokens"],
        temperature,
        values.get("frequency_penalty", 0.0),
        values.get("presence_penalty", 0.0),
        sampling.seed,
        sampling.stop,
        kept,
    )


def _temperature(values: Mapping[str, Any], requested: Mapping[str, Any], in_sampling: set[str]) -> float | None:
    """The temperature to sample with; None for greedy. What asks for both, or for neither's parameters, is refused."""
    temperature = values["temperature"]
    samples = requested.get(
        "do_sample", temperature >= GREEDY_BELOW if "temperature" in requested else values["do_sample"]
    )
    if samples and temperature < GREEDY_BELOW:
        raise InvalidArgumentError(
            f"needs a temperature of {GREEDY_BELOW:g} or more", field=_field("do_sample", in_sampling)
        )
    if not samples and "temperature" in requested and temperature >= GREEDY_BELOW:
        raise InvalidArgumentError("has no effect while do_sample is false", field=_field("temperature", in_sampling))
    if samples:
        return float(temperature)
    for name in sorted(_NEEDS_SAMPLING & set(requested)):
        if requested[name] != {"top_p": 1, "typical_p": 1}.get(name, 0):
            raise InvalidArgumentError("has no effect without a temperature above 0", field=_field(name, in_sampling))
    return None


def _field(name: str, in_sampling: set[str]) -> str:
    if name not in in_sampling:
        return f"backend_options.{name}"
    return "sampling." + next((ours for ours, theirs in _SAMPLING_NAMES.items() if theirs == name), name)


def _problem(name: str, value: Any, known: Mapping[str, Callable[[Any], str]]) -> str:
    """What is wrong with a parameter, "" where nothing is."""
    check = known.get(name)
    if check is None:
        hint = nearest(name, known)
        return "is no parameter of this backend" + (f"; did you mean {hint}?" if hint else "")
    return check(value)
