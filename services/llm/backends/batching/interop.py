"""The threads of torch that compute parts of a step (`torch.jit.fork`). Imports torch."""

import functools
import threading
import warnings
from typing import Any

import torch

_ALL_THERE = threading.Barrier(torch.get_num_interop_threads())


def come_by() -> None:
    """Let each thread come by, when it has done what it has to do: it calls no others for an operation from then on.

    A new thread takes what `torch.set_num_threads` was last told by any thread, and keeps it: two where a step's last
    layer is computed by two. Its parts would take twice as long.
    """
    with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        _compiled()(torch.get_num_interop_threads())


@functools.cache
def _compiled() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(_call)


def _call(threads: int) -> None:
    called = [torch.jit.fork(_comes, index) for index in range(threads)]  # type: ignore[no-untyped-call]
    for one in called:
        torch.jit.wait(one)  # type: ignore[no-untyped-call]


def _comes(index: int) -> int:
    one: int = _one_core(index)
    return one


@torch.jit.ignore  # type: ignore[untyped-decorator]
def _one_core(index: int) -> int:
    torch.set_num_threads(1)
    _ALL_THERE.wait()  # so that every thread runs this once
    return index
