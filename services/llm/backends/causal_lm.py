"""Loads a causal language model of the transformers library. Imports torch."""

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.common.cores import usable_cores
from services.common.errors import StartupError
from services.llm.backends.base import RoleNames
from services.llm.backends.chat_template import ChatTemplate
from services.llm.backends.end_tokens import end_tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded; "" and 0 mean what suits the machine."""

    folder: Path
    device: str
    dtype: str
    quantization: str
    threads: int
    trust_remote_code: bool
    names: RoleNames


@dataclass
class LoadedModel:
    """A model with its tokenizer.

    Attributes:
        context_length: tokens of context and answer together; 0 where the model's files do not say.
        ends: tokens that end an answer.
    """

    model: Any
    tokenizer: Any
    template: ChatTemplate
    device: str
    dtype: torch.dtype
    ends: frozenset[int]
    context_length: int


@dataclass(frozen=True)
class Place:
    """Where a model computes and in which number format; `files` is what every `from_pretrained` is told."""

    device: str
    dtype: torch.dtype
    files: dict[str, Any]


def load(options: ModelOptions) -> LoadedModel:
    """Load a model onto its device.

    Raises:
        StartupError: with one line that says what to do.
    """
    place = prepare(options)
    tokenizer: Any = AutoTokenizer.from_pretrained(options.folder, **place.files)
    template = ChatTemplate(tokenizer, options.names)
    model: Any = AutoModelForCausalLM.from_pretrained(options.folder, dtype=place.dtype, **place.files)
    return put_together(model, tokenizer, template, place)


def prepare(options: ModelOptions) -> Place:
    """Set the libraries up, and choose what the options leave open.

    Raises:
        StartupError: the number format is not one for the quantization.
    """
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    threads = options.threads or usable_cores()
    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):  # once in a process, and a model before this one has set them to work
        torch.set_num_interop_threads(threads)
    device = options.device or _best_device()
    name = options.dtype or ("float32" if device == "cpu" else "float16")
    if options.quantization and (device != "cpu" or name != "float32"):
        raise StartupError(
            f"--llm_quantization {options.quantization} is for float32 on a CPU, not for {name} on {device}"
        )
    files = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
    return Place(device, getattr(torch, name), files)


def put_together(model: Any, tokenizer: Any, template: ChatTemplate, place: Place) -> LoadedModel:
    """A model on its device, with what its files say of it.

    Raises:
        StartupError: no token ends its answers.
    """
    model = model.to(place.device).eval()
    known = model.generation_config.eos_token_id
    ends = end_tokens(tokenizer, known if isinstance(known, list) else () if known is None else (known,))
    context_length = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 0)
    return LoadedModel(model, tokenizer, template, place.device, place.dtype, ends, context_length)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    log.info("no CUDA device: the model runs on the %s", device)
    return device


def check_device(device: str) -> None:
    """Check that this machine has a device.

    Raises:
        StartupError: it has not.
    """
    kind, _, index = device.partition(":")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, True)
    if not available or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        raise StartupError(f"--llm_device {device}: this machine has no such device; use cpu, or leave the flag out")
