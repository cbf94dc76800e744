"""Generation parameters at an API: which there are, and what they are called. Pure."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from services.common.errors import InvalidArgumentError, StartupError
from services.common.settings import nearest
from services.llm.backends.generation_options import PARAMETERS
from services.llm.domain import Sampling

if TYPE_CHECKING:
    from services.llm.settings import LlmSettings

_FLAGS = {"max_new_tokens": "max_output_tokens"}
"""`--llm_gen_<name>` where the request's field is called otherwise."""
_OWN_FLAGS = ("max_new_tokens", "min_new_tokens", "temperature", "do_sample")
REASONING_EFFORT = "reasoning_effort"
"""The one option of `backend_options`."""


def sampling_flags(settings: "LlmSettings", known: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that the flags set, under the API's names; the API's own defaults hold for the others.

    Args:
        settings: with flags meant for any backend.
        known: fields of `Sampling` that the API has, to its names for them.

    Raises:
        StartupError: naming a flag that the API has no parameter for, or whose value is wrong.
    """
    given = {
        name: getattr(settings, f"llm_gen_{name}")
        for name in _OWN_FLAGS
        if f"llm_gen_{name}" in settings.model_fields_set
    }
    values = {}
    for name, value in {**given, **settings.generation_options}.items():
        ours = known.get(_FLAGS.get(name, name))
        if ours is None:
            raise StartupError(f"--llm_gen_{name}: the {settings.llm_backend} backend has no such parameter")
        problem = PARAMETERS[name](value) if name in PARAMETERS else ""
        if problem:
            raise StartupError(f"--llm_gen_{name}: {problem}")
        values[ours] = value
    return values


def sampling_parameters(sampling: Sampling, known: Mapping[str, str], backend: str) -> dict[str, Any]:
    """What a request sets, under the API's names.

    Raises:
        InvalidArgumentError: naming a field that the API has no parameter for.
    """
    values = {}
    for field in fields(sampling):
        value = getattr(sampling, field.name)
        if value is None or field.name == "stop":  # every backend ends at stop strings
            continue
        if field.name not in known:
            raise InvalidArgumentError(f"the {backend} backend has no such parameter", field=f"sampling.{field.name}")
        values[known[field.name]] = value
    return values


def effort_option(options: Mapping[str, Any]) -> str:
    """The reasoning effort that a request asks for; "" where it does not.

    Raises:
        InvalidArgumentError: naming an option that is unknown, or has a wrong value.
    """
    for name, value in options.items():
        if name != REASONING_EFFORT:
            hint = f"; did you mean {REASONING_EFFORT}?" if nearest(name, [REASONING_EFFORT]) else ""
            raise InvalidArgumentError(f"unknown option{hint}", field=f"backend_options.{name}")
        if not isinstance(value, str) or not value.replace("_", "").isalnum():
            raise InvalidArgumentError("must be one word", field=f"backend_options.{name}")
    return str(options.get(REASONING_EFFORT, ""))
