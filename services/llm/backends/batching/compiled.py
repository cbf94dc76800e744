"""`torch.jit` as the engine uses it. Imports torch."""

import contextlib
import warnings
from typing import Any

import torch


def compiled(code: Any) -> Any:
    """A module, or a function, that runs without the interpreter and its lock."""
    with warnings.catch_warnings():
        # torch.jit is kept as it is, in favour of compilers: those need one for C++ on the machine (decision 054).
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(code)


def unoptimized() -> contextlib.AbstractContextManager[None]:
    """Run what is compiled as it is written: the optimizer takes ten seconds and 300 MB, and makes no step faster."""
    context: contextlib.AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    return context
